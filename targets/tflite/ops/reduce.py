"""Reductions over axes, and the index of the largest or smallest element."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import BOOL, FLOAT, INT32, INT64, Call
from edgecut.targets.tflite.ops.elementwise import NARROW, is_narrow


def reduce(kind: str, call: Call, before: str = "", after: str = "") -> Tensor:
    """Reduce, with an element-wise function before and after (``ReduceL2``: square, then root)."""
    x = call.input(0)
    if x.dtype == BOOL:
        kind = {"REDUCE_MAX": "REDUCE_ANY", "REDUCE_MIN": "REDUCE_ALL"}.get(kind, kind)
        call.need(kind in ("REDUCE_ANY", "REDUCE_ALL"), f"type {x.dtype}")
        return _reduced(call, [x], kind, before, after)
    types = (FLOAT,) if before + after else (FLOAT, INT32, INT64)
    return call.widened([x], types, lambda t: _reduced(call, t, kind, before, after))


def _reduced(call: Call, operands: Sequence[Tensor], kind: str, before: str, after: str) -> Tensor:
    (x,) = operands
    gone = _axes(call, x.rank)
    out = call.unary(before, x) if before else x
    if gone:
        out = total(call, kind, out, gone, bool(call.attribute("keepdims", 1)))
    return call.unary(after, out) if after else out


def _axes(call: Call, rank: int) -> list[int]:
    """The axes reduced, in order: without any given all, or none where the node says so."""
    axes = call.integers(1, "axes")
    if not axes and not call.attribute("noop_with_empty_axes", 0):
        axes = list(range(rank))
    return sorted({call.axis(a, rank) for a in axes or []})


def total(call: Call, kind: str, x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """One reduction operator."""
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes]
    return call.emit(kind, [x, lir.integers(axes)], shape, keepDims=keep)


def log_sum_exp(call: Call) -> Tensor:
    """log(sum(exp(x))), shifted by the largest element so that it does not overflow."""
    call.float_only()
    x = call.input(0)
    gone = _axes(call, x.rank)
    if not gone:
        return x  # log(exp(x))
    top = total(call, "REDUCE_MAX", x, gone, True)
    powers = call.unary("EXP", call.binary("SUB", x, top))
    out = call.binary("ADD", call.unary("LOG", total(call, "SUM", powers, gone, True)), top)
    if call.attribute("keepdims", 1):
        return out
    return call.reshape(out, [n for i, n in enumerate(out.shape) if i not in gone])


def arg(kind: str, call: Call) -> Tensor:
    """The index of the largest or smallest element along an axis."""
    x = call.input(0)
    if (x.quant is None and x.dtype.name in NARROW) or (x.dtype == INT64 and is_narrow(x)):
        x = call.cast(x, INT32)
    call.need(call.input(0).quant is not None or x.dtype in (FLOAT, INT32), f"type {x.dtype}")
    axis = call.axis(int(call.attribute("axis", 0)), x.rank)
    shape = [n for i, n in enumerate(x.shape) if i != axis]
    last = bool(call.attribute("select_last_index", 0))
    if last:
        x = call.emit("REVERSE_V2", [x, lir.integers([axis])], x.shape)
    out = call.emit(kind, [x, lir.integers([axis])], shape, np.int64, outputType=4)
    if last:
        out = call.binary("SUB", call.scalar(x.shape[axis] - 1, INT64), out)
    if not call.attribute("keepdims", 1):
        return out
    return call.reshape(out, [1 if i == axis else n for i, n in enumerate(x.shape)])


LOWERINGS = {
    "ReduceMean": functools.partial(reduce, "MEAN"),
    "ReduceSum": functools.partial(reduce, "SUM"),
    "ReduceMax": functools.partial(reduce, "REDUCE_MAX"),
    "ReduceMin": functools.partial(reduce, "REDUCE_MIN"),
    "ReduceProd": functools.partial(reduce, "REDUCE_PROD"),
    "ReduceL1": functools.partial(reduce, "SUM", before="ABS"),
    "ReduceL2": functools.partial(reduce, "SUM", before="SQUARE", after="SQRT"),
    "ReduceSumSquare": functools.partial(reduce, "SUM", before="SQUARE"),
    "ReduceLogSum": functools.partial(reduce, "SUM", after="LOG"),
    "ReduceLogSumExp": log_sum_exp,
    "ArgMax": functools.partial(arg, "ARG_MAX"),
    "ArgMin": functools.partial(arg, "ARG_MIN"),
}
