"""Operators that only give another shape: Reshape, Flatten, Squeeze, Unsqueeze, or that read only one."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import Call


def reshape(call: Call) -> Tensor:
    """0 keeps a dimension (unless ``allowzero``), -1 is what remains."""
    x = call.input(0)
    wanted = call.integers(1, "shape") or []
    if not call.attribute("allowzero", 0):
        call.need(
            all(n != 0 or i < x.rank for i, n in enumerate(wanted)), "its shape keeps a missing dimension"
        )
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    total = int(np.prod(x.shape))
    rest = int(np.prod([n for n in wanted if n != -1]))
    return call.reshape(x, [total // rest if n == -1 else n for n in wanted])


def flatten(call: Call) -> Tensor:
    """Two dimensions, divided at ``axis``."""
    x, axis = call.input(0), int(call.attribute("axis", 1))
    axis = axis + x.rank if axis < 0 else axis
    return call.reshape(x, (int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:]))))


def squeeze(call: Call) -> Tensor:
    """Remove dimensions of one."""
    x, axes = call.input(0), call.integers(1, "axes")
    gone = {call.axis(a, x.rank) for a in axes} if axes else {i for i, n in enumerate(x.shape) if n == 1}
    return call.reshape(x, [n for i, n in enumerate(x.shape) if i not in gone])


def unsqueeze(call: Call) -> Tensor:
    """Add dimensions of one."""
    x, axes = call.input(0), call.integers(1, "axes") or []
    rank = x.rank + len(axes)
    new = {call.axis(a, rank) for a in axes}
    old = iter(x.shape)
    return call.reshape(x, [1 if i in new else next(old) for i in range(rank)])


def shape(call: Call) -> Tensor:
    """The shape, which is known."""
    x = call.input(0)
    part = x.shape[slice(call.attribute("start", 0), call.attribute("end"))]
    return lir.constant(np.array(part, np.int64))


def size(call: Call) -> Tensor:
    """The number of elements, which is known."""
    return lir.constant(np.array(int(np.prod(call.input(0).shape)), np.int64))


def eye_like(call: Call) -> Tensor:
    """Ones on a diagonal of a matrix whose shape is known."""
    x, to = call.input(0), call.attribute("dtype")
    dtype = x.dtype if to is None else oir.DataType(to).numpy()
    rows, columns = x.shape
    return lir.constant(np.eye(rows, columns, call.attribute("k", 0)).astype(dtype))


LOWERINGS = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Shape": shape,
    "Size": size,
    "EyeLike": eye_like,
}
