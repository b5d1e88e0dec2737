"""What integers stand for, carried along where they are only moved.

A grid belongs to the numbers, not to the tensor at hand: later passes read them before they were
moved, or after.
"""

from __future__ import annotations

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Op, Quant, Tensor

# Operators that move elements, and where they have them.
_MOVES = {
    **dict.fromkeys((
        "RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "GATHER", "GATHER_ND", "TILE", "BROADCAST_TO",
        "REVERSE_V2", "REVERSE_SEQUENCE", "SPLIT_V", "UNPACK", "MIRROR_PAD", "PAD", "PADV2", "SPACE_TO_DEPTH",
        "DEPTH_TO_SPACE", "RESIZE_NEAREST_NEIGHBOR",
    ), 0),
    "SPLIT": 1,
}  # fmt: skip


def carry(op: Op) -> None:
    """Give the results of a new operator the grid of the integers that it moves."""
    data = _data(op)
    grids = [t.quant for t in data if not t.is_constant]
    first = grids[0] if grids else None
    if first is None or any(not first.same(g) for g in grids) or op.output.dtype.kind not in "iu":
        return
    _stay(op, first)
    for tensor in op.outputs:
        tensor.quant = first


def label(tensor: Tensor, quant: Quant) -> None:
    """Say what integers stand for, and those that they were moved from."""
    if tensor.quant is not None:
        return
    tensor.quant = quant
    op = tensor.op
    if op is None:
        return
    if _data(op):
        _stay(op, quant)
    for other in (*op.outputs, *_data(op)):
        if other.dtype == tensor.dtype and not other.is_constant:
            label(other, quant)


def _data(op: Op) -> list[Tensor]:
    if op.kind == "CONCATENATION":
        return [t for t in op.inputs if t is not None]
    at = _MOVES.get(op.kind)
    found = None if at is None else op.inputs[at]
    return [] if found is None else [found]


def _stay(op: Op, quant: Quant) -> None:
    """Let what an operator adds be the same integers as before: on a grid, PAD adds what stands for zero."""
    if op.kind == "PAD":
        op.kind = "PADV2"
        op.inputs.append(lir.constant(np.zeros((), op.output.dtype), quant))
    for i, tensor in enumerate(op.inputs):
        added = op.kind == "CONCATENATION" or (op.kind == "PADV2" and i == 2)
        if added and tensor is not None and tensor.data is not None and tensor.quant is None:
            op.inputs[i] = lir.constant(tensor.data, quant)
