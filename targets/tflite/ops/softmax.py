"""Softmax, LogSoftmax and Hardmax's relatives: along one axis, which TFLite wants last."""

from __future__ import annotations

import functools

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import Call


def softmax(kind: str, call: Call) -> Tensor:
    """Normalize along ``axis``; before operator set 13, along all dimensions from ``axis`` on."""
    call.float_only()
    x = call.input(0)
    call.need(x.rank > 0, "a scalar")
    axis = call.axis(int(call.attribute("axis", -1 if call.opset >= 13 else 1)), x.rank)
    if call.opset < 13 and axis < x.rank - 1 and np.prod(x.shape[axis:]) != x.shape[axis]:
        rows = int(np.prod(x.shape[:axis]))
        flat = call.reshape(x, (rows, int(np.prod(x.shape[axis:]))))
        return call.reshape(_last(kind, call, flat), x.shape)
    perm = [i for i in range(x.rank) if i != axis] + [axis]
    out = _last(kind, call, call.transpose(x, perm))
    return call.transpose(out, np.argsort(perm).tolist())


def _last(kind: str, call: Call, x: Tensor) -> Tensor:
    options = {"beta": 1.0} if kind == "SOFTMAX" else {}
    return call.unary(kind, x, **options)


def hardmax(call: Call) -> Tensor:
    """1 at the first of the largest elements along ``axis``, 0 elsewhere."""
    call.float_only()
    x = call.input(0)
    call.need(call.opset >= 13 and x.rank > 0, "a scalar, or before operator set 13")
    axis = call.axis(int(call.attribute("axis", -1)), x.rank)
    shape = [n for i, n in enumerate(x.shape) if i != axis]
    where = call.emit("ARG_MAX", [x, lir.integers([axis])], shape, np.int32, outputType=2)
    depth, on, off = lir.constant(np.array(x.shape[axis], np.int32)), call.scalar(1.0), call.scalar(0.0)
    return call.emit(
        "ONE_HOT", [where, depth, on, off], x.shape, x.dtype, axis=axis if axis < x.rank - 1 else -1
    )


LOWERINGS = {
    "Hardmax": hardmax,
    "Softmax": functools.partial(softmax, "SOFTMAX"),
    "LogSoftmax": functools.partial(softmax, "LOG_SOFTMAX"),
}
