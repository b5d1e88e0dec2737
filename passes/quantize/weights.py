"""Smaller weights, float arithmetic: for speed that stays and files of a quarter or half the size."""

from typing import Literal

import numpy as np
import onnx_ir as oir

from edgecut.ir import annotations
from edgecut.ir.annotations import Origin
from edgecut.ir.program import Program
from edgecut.passes.quantize import grid, region

# Smaller tensors (biases, mostly) are not worth an operator.
SMALLEST = 256
_FLOAT16_MAX = float(np.finfo(np.float16).max)


def to_integers(program: Program, keep: frozenset[str], bits: Literal[4, 8] = 8) -> int:
    """Store the weights of convolutions and matrix products as integers with a scale per output channel.

    Args:
        program: Float program.
        keep: Names of nodes whose weights stay.
        bits: Of an integer. Those of convolutions have 8 always: no kernel unpacks 4 fast, so that they
            would be held in 8 all the same, and few channels of theirs are as good with 4.

    Returns:
        How many weights were stored so.
    """
    done: dict[tuple[oir.Value, int, int], oir.Value] = {}
    for node in list(program.nodes):
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        axis = region.weight_axis(node) if node.op_type in region.WEIGHTED else None
        if node.name in keep or axis is None or weight is None or not _is_large(weight):
            continue
        own = 8 if node.op_type in region.CONVOLUTIONS else bits
        if (weight, axis, own) not in done:
            done[weight, axis, own] = _integers(program, node, weight, axis, own)
        node.replace_input_with(1, done[weight, axis, own])
    _drop_unused(program)
    return len(done)


def to_float16(program: Program, keep: frozenset[str]) -> int:
    """Store large float32 constants as float16, followed by a Cast.

    Returns:
        How many were stored so. Those that float16 cannot hold stay.
    """
    count = 0
    for value in list(program.graph.initializers.values()):
        users = [(n, i) for n, i in value.uses() if n.name not in keep]
        if not users or not _is_large(value) or np.abs(grid.constant_array(value)).max() > _FLOAT16_MAX:
            continue
        half = _constant(program, f"{value.name}_float16", grid.constant_array(value).astype(np.float16))
        real = _value(program, f"{value.name}_float32", value.shape)
        cast = oir.node("Cast", [half], {"to": oir.DataType.FLOAT}, outputs=[real], name=real.name)
        _put_first(program, cast, users[0][0])
        for node, index in users:
            node.replace_input_with(index, real)
        count += 1
    _drop_unused(program)
    return count


def _integers(program: Program, node: oir.Node, weight: oir.Value, axis: int, bits: int) -> oir.Value:
    most = (1 << (bits - 1)) - 1
    array = grid.constant_array(weight)
    scales = grid.channel_scales(array, axis, None, 1.0, most)
    rounded = grid.quantize_weight(array, scales, axis, most)
    inputs = [
        _constant(program, f"{weight.name}_quantized", rounded, bits),
        _constant(program, f"{weight.name}_scale", scales),
        _constant(program, f"{weight.name}_zero_point", np.zeros(len(scales), np.int8), bits),
    ]
    real = _value(program, f"{weight.name}_dequantized", oir.Shape(array.shape))
    made = oir.node("DequantizeLinear", inputs, {"axis": axis}, outputs=[real], name=real.name)
    _put_first(program, made, node)
    return real


def _put_first(program: Program, made: oir.Node, user: oir.Node) -> None:
    """Put a node that reads constants only before all others; it comes from where it is used."""
    annotations.put(made, annotations.get(user, Origin) or Origin((user.name or "",)))
    program.graph.insert_before(next(program.nodes), made)


def _is_large(value: oir.Value) -> bool:
    tensor = value.const_value
    if tensor is None or tensor.dtype != oir.DataType.FLOAT or value.is_graph_output():
        return False
    return tensor.size >= SMALLEST


def _constant(program: Program, wanted: str, array: np.ndarray, bits: int = 8) -> oir.Value:
    """An initializer of the array's type; integers of 4 bits are stored two in a byte."""
    name = _free(program, wanted)
    stored = array.astype(oir.DataType.INT4.numpy()) if bits == 4 else array
    value = oir.val(name, const_value=oir.tensor(stored, name=name))
    program.graph.register_initializer(value)
    return value


def _value(program: Program, wanted: str, shape: oir.Shape | None) -> oir.Value:
    return oir.val(_free(program, wanted), oir.DataType.FLOAT, shape)


def _free(program: Program, wanted: str) -> str:
    taken = program.values()
    return next(n for n in (wanted, *(f"{wanted}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)


def _drop_unused(program: Program) -> None:
    for name, value in list(program.graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del program.graph.initializers[name]
