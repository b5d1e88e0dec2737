"""Which steps of a recurrent layer are read, as far as it follows from how the program moves its results."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as oir

from edgecut.ir.program import static_shape
from edgecut.targets.tflite.lir import Array

_SAME_ORDER = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten")


def steps(value: oir.Value, count: int, directions: int) -> list[set[int]]:
    """The steps of each direction of Y [count, directions, batch, hidden] that anything is computed from."""
    shape = static_shape(value)
    if shape is None:
        return [set(range(count)) for _ in range(directions)]
    numbers = np.arange(count * directions).reshape(count, directions, 1, 1)
    found = _read(value, np.broadcast_to(numbers, shape))
    return [{n // directions for n in found if n % directions == d} for d in range(directions)]


def _read(value: oir.Value, numbers: Array) -> set[int]:
    everything = set(numbers.ravel().tolist())
    if value.is_graph_output():
        return everything
    found: set[int] = set()
    for node, _ in value.uses():
        moved = _moved(node, value, numbers)
        if moved is None:
            return everything
        found |= _read(node.outputs[0], moved)
    return found


def _moved(node: oir.Node, value: oir.Value, numbers: Array) -> Array | None:
    """The numbers as a node moves them; None where it computes with them, or is not looked into."""
    shape = static_shape(node.outputs[0])
    if shape is None or node.inputs[0] is not value:
        return None
    if node.op_type in _SAME_ORDER:
        return numbers.reshape(shape)
    move = _MOVES.get(node.op_type)
    return None if move is None else move(node, numbers)


def _transposed(node: oir.Node, numbers: Array) -> Array:
    return numbers.transpose(node.attributes["perm"].as_ints() if "perm" in node.attributes else None)


def _gathered(node: oir.Node, numbers: Array) -> Array | None:
    indices = _constant(node, 1)
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    return None if indices is None else np.take(numbers, indices, axis)


def _sliced(node: oir.Node, numbers: Array) -> Array | None:
    starts, ends = _constant(node, 1), _constant(node, 2)
    if starts is None or ends is None:
        return None
    axes = (
        _constant(node, 3) if len(node.inputs) > 3 and node.inputs[3] is not None else np.arange(starts.size)
    )
    steps = (
        _constant(node, 4) if len(node.inputs) > 4 and node.inputs[4] is not None else np.ones_like(starts)
    )
    if axes is None or steps is None or (steps < 0).any():
        return None
    places = [slice(None)] * numbers.ndim
    for axis, *numbers_of in zip(axes, starts, ends, steps, strict=True):
        places[int(axis)] = slice(*map(int, numbers_of))
    return numbers[tuple(places)]


def _constant(node: oir.Node, index: int) -> Array | None:
    value = node.inputs[index]
    return None if value is None or value.const_value is None else value.const_value.numpy()


_MOVES: dict[str, Callable[[oir.Node, Array], Array | None]] = {
    "Gather": _gathered, "Slice": _sliced, "Transpose": _transposed,
}  # fmt: skip
