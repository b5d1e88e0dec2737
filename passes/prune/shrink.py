"""Removes channels: cuts their positions out of weights, shapes, and constants that spell shapes out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir.program import Program, static_shape
from edgecut.passes.prune.dims import Axis, Channel


def remove(program: Program, channels: Iterable[Channel]) -> None:
    """Remove channels of this program from it, in place.

    Args:
        program: Whose values the channels were found on.
        channels: Any of them, but not all of a group.
    """
    gone: dict[Axis, set[int]] = {}
    for channel in channels:
        for place, positions in channel.places:
            gone.setdefault(place, set()).update(positions)
    widths = {n: _input_channels(n) for n in program.nodes if n.op_type in ("Conv", "ConvTranspose")}
    for (value, axis), numbers in gone.items():
        _cut(value, axis, sorted(numbers))
    for node, before in widths.items():
        _fix_group(node, before)
    for node in program.nodes:
        _fix_constants(program, node)


def _cut(value: oir.Value, axis: int, positions: list[int]) -> None:
    if value.const_value is not None:
        array = np.delete(value.const_value.numpy(), positions, axis)
        value.const_value = oir.tensor(np.ascontiguousarray(array), name=value.name)
        value.shape = oir.Shape(array.shape)
        return
    shape = list(static_shape(value) or ())
    shape[axis] -= len(positions)
    value.shape = oir.Shape(shape)


def _input_channels(node: oir.Node) -> int:
    shape = static_shape(node.inputs[0]) if node.inputs[0] is not None else None
    return shape[1] if shape else 0


def _fix_group(node: oir.Node, before: int) -> None:
    """A depthwise convolution has as many groups as channels; other groups have become narrower instead."""
    group = node.attributes.get("group")
    if group is not None and group.as_int() == before > 1:
        node.attributes["group"] = oir.AttrInt64("group", _input_channels(node))


def _fix_constants(program: Program, node: oir.Node) -> None:
    """Shapes and sizes that a node is told, as they are now."""
    if node.op_type == "Reshape":
        _tell(program, node, 1, static_shape(node.outputs[0]))
    elif node.op_type == "Resize" and len(node.inputs) > 3 and node.inputs[3] is not None:
        _tell(program, node, 3, static_shape(node.outputs[0]))
    elif node.op_type == "Split":
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        sizes = [(static_shape(v) or ())[axis] for v in node.outputs]
        node.attributes.pop("num_outputs", None)
        _tell(program, node, 1, sizes)


def _tell(program: Program, node: oir.Node, index: int, sizes: Iterable[int] | None) -> None:
    wanted: NDArray[np.int64] = np.asarray(list(sizes or ()), np.int64)
    old = node.inputs[index] if len(node.inputs) > index else None
    if old is not None and old.const_value is not None and _same(old.const_value.numpy(), wanted, node):
        return
    taken = program.values()
    base = f"{node.name}_sizes"
    name = next(n for n in (base, *(f"{base}_{i}" for i in range(len(taken) + 1))) if n not in taken)
    value = oir.val(name, const_value=oir.tensor(wanted, name=name))
    program.graph.register_initializer(value)
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
    if old is not None and old.name and not old.uses():
        program.graph.initializers.pop(old.name, None)


def _same(told: NDArray[np.generic], wanted: NDArray[np.int64], node: oir.Node) -> bool:
    """Whether what a node is told still gives the wanted sizes (a Reshape may leave one open)."""
    if node.op_type != "Reshape":
        return np.array_equal(told, wanted)
    data = static_shape(node.inputs[0]) if node.inputs[0] is not None else None
    zeros = [data[i] if d == 0 and data and i < len(data) else int(d) for i, d in enumerate(told)]
    return all(d in (-1, w) for d, w in zip(zeros, wanted.tolist(), strict=True))
