"""Softmax, LogSoftmax and Hardmax's relatives: along one axis, which TFLite wants last."""

from __future__ import annotations

import functools

import numpy as np

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


LOWERINGS = {
    "Softmax": functools.partial(softmax, "SOFTMAX"),
    "LogSoftmax": functools.partial(softmax, "LOG_SOFTMAX"),
}
