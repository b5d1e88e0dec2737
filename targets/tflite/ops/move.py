"""Operators that move elements along given dimensions: Transpose, Concat, Split, Slice, Pad, Tile, Expand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import FLOAT, Call

_SPLIT = ("float32", "int8", "uint8", "int16", "int32", "int64")
"""Types that SPLIT and SPLIT_V take."""
_NO_MASKS: dict[str, Any] = dict.fromkeys(
    ("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask"), 0
)


def transpose(call: Call) -> Tensor:
    """Permute dimensions."""
    x = call.input(0)
    call.need(x.rank <= 6, f"rank {x.rank}")
    return call.transpose(x, call.attribute("perm") or list(range(x.rank))[::-1])


def concat(call: Call) -> Tensor:
    """Join along an axis."""
    tensors = [call.input(i) for i in range(len(call.inputs))]
    tensors = [t for t in tensors if 0 not in t.shape] or tensors[:1]
    axis = call.axis(int(call.attribute("axis", 0)), tensors[0].rank)
    if len(tensors) == 1:
        return tensors[0]
    shape = list(tensors[0].shape)
    shape[axis] = sum(t.shape[axis] for t in tensors)
    return call.emit("CONCATENATION", tensors, shape, axis=axis, fusedActivationFunction=0)


def split(call: Call) -> Sequence[Tensor]:
    """Divide along an axis, evenly or by given sizes."""
    x, sizes = call.input(0), call.integers(1, "split")
    axis, parts = call.axis(int(call.attribute("axis", 0)), x.rank), len(call.node.outputs)
    if sizes is None:
        parts = int(call.attribute("num_outputs", parts))
        each = -(-x.shape[axis] // parts)
        sizes = [min(each, x.shape[axis] - i * each) for i in range(parts)]
    shapes = [(*x.shape[:axis], n, *x.shape[axis + 1 :]) for n in sizes]
    if parts == 1:
        return [x]
    if x.dtype.name not in _SPLIT:
        return _parts(call, x, axis, sizes)
    if len(set(sizes)) == 1:
        return call.emit_many("SPLIT", [lir.integers([axis]), x], shapes, numSplits=parts)
    return call.emit_many("SPLIT_V", [x, lir.integers(sizes), lir.integers([axis])], shapes, numSplits=parts)


def _parts(call: Call, x: Tensor, axis: int, sizes: Sequence[int]) -> Sequence[Tensor]:
    """One SLICE for each part."""
    made = []
    for start, size in zip(np.cumsum([0, *sizes]).tolist(), sizes, strict=False):
        begin, shape = [0] * x.rank, list(x.shape)
        begin[axis], shape[axis] = start, size
        made.append(call.emit("SLICE", [x, lir.integers(begin), lir.integers(shape)], shape))
    return made


def slices(call: Call) -> Tensor:
    """Take a range with a step along some axes."""
    x = call.input(0)
    starts, ends = call.integers(1, "starts") or [], call.integers(2, "ends") or []
    axes = call.integers(3, "axes") or list(range(len(starts)))
    steps = call.integers(4, "steps") or [1] * len(starts)
    ranges = [(0, n, 1) for n in x.shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        ranges[call.axis(axis, x.rank)] = slice(start, end, step).indices(x.shape[axis])
    shape = [len(range(*r)) for r in ranges]
    call.need(0 not in shape, "an empty slice")
    if tuple(shape) == x.shape and all(step > 0 for _, _, step in ranges):
        return x
    if x.rank > 5:
        return _picked(call, x, ranges, [i for i, r in enumerate(ranges) if r != (0, x.shape[i], 1)])
    begin = lir.integers(r[0] for r in ranges)
    if all(step == 1 for _, _, step in ranges):
        return call.emit("SLICE", [x, begin, lir.integers(shape)], shape)
    backwards = [i for i, r in enumerate(ranges) if r[2] < 0]
    if backwards:
        return _backwards(call, x, ranges, backwards)
    stop = lir.integers(r[1] for r in ranges)
    strides = lir.integers(r[2] for r in ranges)
    return call.emit("STRIDED_SLICE", [x, begin, stop, strides], shape, **_NO_MASKS)


def _backwards(call: Call, x: Tensor, ranges: list[tuple[int, int, int]], axes: list[int]) -> Tensor:
    """Steps below zero: gather along each axis of them, then the rest as usual."""
    x = _picked(call, x, ranges, axes)
    ranges = [(0, x.shape[i], 1) if i in axes else r for i, r in enumerate(ranges)]
    shape = tuple(len(range(*r)) for r in ranges)
    if shape == x.shape:
        return x
    columns = [lir.integers(c) for c in zip(*ranges, strict=True)]
    return call.emit("STRIDED_SLICE", [x, *columns], shape, **_NO_MASKS)


def _picked(call: Call, x: Tensor, ranges: Sequence[tuple[int, int, int]], axes: Sequence[int]) -> Tensor:
    """Gather a range along each of some axes."""
    for axis in axes:
        indices = lir.integers(range(*ranges[axis]))
        shape = (*x.shape[:axis], indices.shape[0], *x.shape[axis + 1 :])
        x = call.emit("GATHER", [x, indices], shape, axis=axis, batchDims=0)
    return x


def pad(call: Call) -> Tensor:
    """Add (or, where negative, remove) elements at both ends: constant, reflected or repeated."""
    x, pads = call.input(0), call.integers(1, "pads") or []
    axes = call.integers(3, "axes") or list(range(x.rank))
    axes = [call.axis(a, x.rank) for a in axes]
    low, high = [0] * x.rank, [0] * x.rank
    for i, axis in enumerate(axes):
        low[axis], high[axis] = pads[i], pads[i + len(axes)]
    if min([*low, *high], default=0) < 0:
        begin = [max(-b, 0) for b in low]
        size = [n - b - max(-a, 0) for n, b, a in zip(x.shape, begin, high, strict=True)]
        x = call.emit("SLICE", [x, lir.integers(begin), lir.integers(size)], size)
        low, high = [max(b, 0) for b in low], [max(a, 0) for a in high]
    if not any(low + high):
        return x
    call.need(x.rank <= 5, f"rank {x.rank}")
    rows = lir.constant(np.array([low, high], np.int32).T)
    shape = [b + n + a for b, n, a in zip(low, x.shape, high, strict=True)]
    mode = call.attribute("mode", "constant")
    if mode == "reflect":
        call.need(
            all(max(b, a) < n for b, a, n in zip(low, high, x.shape, strict=True)), "reflects more than once"
        )
        return call.emit("MIRROR_PAD", [x, rows], shape, mode=0)
    if mode in ("edge", "wrap"):
        return _gathered(call, x, low, high, mode)
    call.need(mode == "constant", f"mode {mode}")
    value = _pad_value(call)
    if value == 0:
        return call.emit("PAD", [x, rows], shape)
    return call.emit("PADV2", [x, rows, lir.constant(np.array(value, x.dtype))], shape)


def _pad_value(call: Call) -> float:
    if call.has(2):
        found = call.constant(2, "pad value")
        return float(found.ravel()[0]) if found.size else 0.0
    return float(call.attribute("value", 0.0))


def _gathered(call: Call, x: Tensor, low: Sequence[int], high: Sequence[int], mode: str) -> Tensor:
    """Repeat the border (``edge``) or the other end (``wrap``), one axis after the other."""
    for axis, (before, after) in enumerate(zip(low, high, strict=True)):
        if not before and not after:
            continue
        size = x.shape[axis]
        index = np.arange(-before, size + after)
        index = index % size if mode == "wrap" else index.clip(0, size - 1)
        shape = (*x.shape[:axis], len(index), *x.shape[axis + 1 :])
        x = call.emit("GATHER", [x, lir.integers(index)], shape, axis=axis, batchDims=0)
    return x


def tile(call: Call) -> Tensor:
    """Repeat along every dimension."""
    x, repeats = call.input(0), call.integers(1, "repeats") or []
    shape = [n * r for n, r in zip(x.shape, repeats, strict=True)]
    call.need(0 not in shape, "an empty result")
    return x if tuple(shape) == x.shape else call.emit("TILE", [x, lir.integers(repeats)], shape)


def expand(call: Call) -> Tensor:
    """Broadcast to a shape."""
    x = call.input(0)
    shape = np.broadcast_shapes(x.shape, tuple(call.integers(1, "shape") or ()))
    call.need(len(shape) <= 6 and 0 not in shape, f"rank {len(shape)} or an empty result")
    x = call.reshape(x, (1,) * (len(shape) - x.rank) + x.shape)
    if shape == x.shape:
        return x
    if x.dtype == FLOAT and x.is_constant:
        return lir.constant(np.broadcast_to(lir.real(x), shape))
    return call.emit("BROADCAST_TO", [x, lir.integers(shape)], shape)


LOWERINGS = {
    "Transpose": transpose,
    "Concat": concat,
    "Split": split,
    "Slice": slices,
    "Pad": pad,
    "Tile": tile,
    "Expand": expand,
}
