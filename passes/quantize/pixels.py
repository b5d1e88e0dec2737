"""Images on the grid of their own pixels.

What enters the first convolution is ``scale * pixel + offset``. Where both are the same for all channels,
int8 can hold every pixel exactly: with that scale, and the zero point where the offset puts it. TFLite then
turns uint8 into int8 by one exact operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from edgecut.ir.program import Program
from edgecut.passes.quantize.grid import Grid, constant_array

# How far from an integer a zero point may be, in pixels, to count as one (float32 constants are not exact).
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Affine:
    """``value = scale * pixel + offset``, and the node whose constant makes the offset."""

    scale: float
    offset: float
    shift: oir.Node | None = None
    gain: float = 1.0
    """What the result of ``shift`` is multiplied with afterwards."""

    @property
    def mean(self) -> float:
        return -self.offset / self.scale


def grid_of(value: oir.Value) -> Grid | None:
    """The grid of the pixels that a value is made of, or None where it is no image or no grid fits."""
    affine = _trace(value)
    if affine is None or affine.scale <= 0 or abs(affine.mean - round(affine.mean)) > _TOLERANCE:
        return None
    mean = round(affine.mean)
    return Grid(float(np.float32(affine.scale)), mean - 128) if 0 <= mean <= 255 else None


def align(program: Program) -> None:
    """Move a zero that lies between two pixels (127.5, say) onto one of them, the rest into biases.

    Exact but for the border of padded convolutions, where the zeros are then half a pixel off.
    """
    for value in _first_values(program):
        affine = _trace(value)
        if affine is None or affine.scale <= 0 or affine.shift is None:
            continue
        rest = (round(affine.mean) - affine.mean) * affine.scale
        if abs(rest) <= _TOLERANCE * affine.scale:
            continue
        _shift(program, affine.shift, -rest / affine.gain)
        for node, _ in list(value.uses()):
            _add_to_bias(program, node, rest)


def _first_values(program: Program) -> Iterator[oir.Value]:
    """Inputs that only convolutions with constant weights read."""
    found = {n.inputs[0]: None for n in program.nodes if n.op_type == "Conv"}
    for value in found:
        if value is not None and all(_is_plain_conv(n, i) for n, i in value.uses()):
            yield value


def _is_plain_conv(node: oir.Node, index: int) -> bool:
    constants = [v for v in node.inputs[1:] if v is not None]
    return node.op_type == "Conv" and index == 0 and all(v.const_value is not None for v in constants)


def _trace(value: oir.Value) -> _Affine | None:
    node = value.producer()
    if node is None:
        return _Affine(1.0, 0.0) if value.is_graph_input() and value.dtype == oir.DataType.UINT8 else None
    data = [v for v in node.inputs if v is not None and v.const_value is None]
    if len(data) != 1:
        return None
    before = _trace(data[0]) if node.op_type in _STEPS else None
    if before is None or node.op_type in ("Cast", "Transpose"):
        return before
    constant = _uniform(node)
    if constant is None or (node.op_type in ("Sub", "Div") and node.inputs[0] is not data[0]):
        return None
    if node.op_type in ("Mul", "Div"):
        factor = constant if node.op_type == "Mul" else 1 / constant
        return _Affine(before.scale * factor, before.offset * factor, before.shift, before.gain * factor)
    term = constant if node.op_type == "Add" else -constant
    return _Affine(before.scale, before.offset + term, node)


_STEPS = frozenset({"Cast", "Transpose", "Add", "Sub", "Mul", "Div"})


def _uniform(node: oir.Node) -> float | None:
    """The number that a node's constant is filled with."""
    for value in node.inputs:
        if value is not None and value.const_value is not None:
            array = np.asarray(value.const_value.numpy(), np.float64)
            same = array.size > 0 and np.ptp(array) <= 1e-6 * abs(array.flat[0])
            # Nothing is on a grid whose factor is zero; an offset of zero is as good as any.
            usable = same and (array.flat[0] != 0 or node.op_type in ("Add", "Sub"))
            return float(array.flat[0]) if usable else None
    return None


def _shift(program: Program, node: oir.Node, amount: float) -> None:
    """Add an amount to what a node computes, through its constant."""
    index = next(i for i, v in enumerate(node.inputs) if v is not None and v.const_value is not None)
    old = node.inputs[index]
    sign = 1 if node.op_type == "Add" else -1
    array = constant_array(old) + np.float32(sign * amount)
    node.replace_input_with(index, _replacement(program, f"{node.name}_offset", array))


def _add_to_bias(program: Program, node: oir.Node, amount: float) -> None:
    """Make a convolution answer as if its input were larger by an amount."""
    array = constant_array(node.inputs[1]).astype(np.float64)
    extra = amount * array.reshape(len(array), -1).sum(axis=1)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and bias.const_value is not None:
        extra += constant_array(bias)
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    name = bias.name if bias is not None and bias.name else f"{node.name}_bias"
    node.replace_input_with(2, _replacement(program, name, extra.astype(np.float32)))


def _replacement(
    program: Program, wanted: str, array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> oir.Value:
    taken = program.values()
    name = next(n for n in (wanted, *(f"{wanted}_{i}" for i in range(1, 1000))) if n not in taken)
    value = oir.val(name, const_value=oir.tensor(array, name=name))
    program.graph.register_initializer(value)
    return value
