"""A part taken out of tensors that were just joined: only that part is joined.

The last step of a sequence is all that many recurrent networks use. What only the other steps need, half of
a bidirectional layer say, is then never computed.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Op, Tensor


def pick(op: Op) -> Tensor | None:
    """What replaces a GATHER or SLICE of a CONCATENATION, seen through operators that move no bytes."""
    part = _range(op)
    joined = _joined(op.inputs[0]) if part is not None else None
    if part is None or joined is None:
        return None
    tensors = [t for t in joined.inputs if t is not None]
    bounds = list(accumulate((_size(t) for t in tensors), initial=0))
    if part[0] not in bounds or part[1] not in bounds:
        return None
    chosen = [t for t, (a, b) in zip(tensors, pairwise(bounds), strict=True) if part[0] <= a and b <= part[1]]
    sources = op.sources | joined.sources
    if len(chosen) == len(tensors):
        return None
    if len(chosen) == 1:
        return lir.reshape(chosen[0], op.output.shape, sources)
    axis = int(joined.options["axis"])
    shape = [sum(t.shape[i] for t in chosen) if i == axis else n for i, n in enumerate(chosen[0].shape)]
    (out,) = lir.emit("CONCATENATION", chosen, [shape], [op.output.dtype], sources, joined.options)
    return lir.reshape(out, op.output.shape, sources)


def _range(op: Op) -> tuple[int, int] | None:
    """First and last but one of the elements that are taken, if they lie together in memory."""
    x = op.inputs[0] if op.inputs else None
    if x is None or op.kind not in ("GATHER", "SLICE") or x.is_constant:
        return None
    if any(t is None or not t.is_constant for t in op.inputs[1:]) or op.options.get("batchDims"):
        return None
    if op.kind == "GATHER":
        axis, indices = int(op.options["axis"]), op.constant(1).ravel()
        begin, count = (int(indices[0]), len(indices)) if indices.size else (0, 0)
        if not count or not np.array_equal(indices, np.arange(begin, begin + count)):
            return None
    else:
        cut = [i for i, n in enumerate(x.shape) if op.output.shape[i] != n]
        if len(cut) != 1:
            return None
        axis = cut[0]
        begin, count = int(op.constant(1)[axis]), op.output.shape[axis]
    if any(n != 1 for n in x.shape[:axis]):
        return None
    inner = int(np.prod(x.shape[axis + 1 :], dtype=np.int64))
    return begin * inner, (begin + count) * inner


def _joined(tensor: Tensor | None) -> Op | None:
    """The CONCATENATION, of parts that follow each other in memory, whose bytes a tensor is."""
    op = tensor.op if tensor is not None else None
    while op is not None and (op.kind == "RESHAPE" or _moves_nothing(op)):
        op = op.inputs[0].op if op.inputs[0] is not None else None
    if op is None or op.kind != "CONCATENATION" or op.options.get("fusedActivationFunction"):
        return None
    return op if all(n == 1 for n in op.output.shape[: int(op.options["axis"])]) else None


def _moves_nothing(op: Op) -> bool:
    x = op.inputs[0]
    if op.kind != "TRANSPOSE" or x is None:
        return False
    solid = [int(d) for d in op.constant(1) if x.shape[int(d)] != 1]
    return solid == sorted(solid)


def _size(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64))
