"""Pools: maximum and average (any padding, ceil_mode), global ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops import window as windows
from edgecut.targets.tflite.ops.base import Call
from edgecut.targets.tflite.ops.window import VALID, Window


def max_pool(call: Call) -> Tensor:
    """[N, C, (H,) W] -> [N, C, (oH,) oW]."""
    call.float_only()
    x, w = _window(call)
    call.need(len(call.node.outputs) < 2 or not call.node.outputs[1].uses(), "its indices are used")
    call.need(set(w.dilation) == {1}, "a dilated maximum pool")
    image = windows.to_channels_last(call, x)
    image, padding = _pad_max(call, image, w)
    out = _pool(call, "MAX_POOL_2D", image, w, padding)
    return windows.from_channels_last(call, out, x.rank)


def average_pool(call: Call) -> Tensor:
    """[N, C, (H,) W] -> [N, C, (oH,) oW]."""
    call.float_only()
    x, w = _window(call)
    call.need(set(w.dilation) == {1}, "a dilated average pool")
    image = windows.to_channels_last(call, x)
    counted = bool(call.attribute("count_include_pad", 0))
    if w.valid or (w.same and not counted):
        out = _pool(call, "AVERAGE_POOL_2D", image, w, VALID if w.valid else windows.SAME)
        return windows.from_channels_last(call, out, x.rank)
    image = windows.explicit_pad(call, image, w.before, w.needed_after)
    out = _pool(call, "AVERAGE_POOL_2D", image, w, VALID)
    counts = np.multiply.outer(*(_covered(w, axis, counted) for axis in (0, 1)))
    factor = (np.prod(w.kernel) / counts).astype(np.float32)
    if (factor != 1).any():
        out = call.binary("MUL", out, lir.constant(factor[None, :, :, None]))
    return windows.from_channels_last(call, out, x.rank)


def global_average_pool(call: Call) -> Tensor:
    """[N, C, ...] -> [N, C, 1, ...]."""
    return _over_space(call, "MEAN")


def global_max_pool(call: Call) -> Tensor:
    """[N, C, ...] -> [N, C, 1, ...]."""
    return _over_space(call, "REDUCE_MAX")


def _over_space(call: Call, kind: str) -> Tensor:
    call.float_only()
    x = call.input(0)
    axes = range(2, x.rank)
    return call.emit(kind, [x, lir.integers(axes)], (*x.shape[:2], *[1] * len(axes)), keepDims=True)


def _window(call: Call) -> tuple[Tensor, Window]:
    x = call.input(0)
    call.need(x.rank in (3, 4), f"rank {x.rank} (1-D and 2-D pools are supported)")
    w = windows.window(call, x.shape[2:], call.attribute("kernel_shape"))
    return x, windows.planar(w)


def _pad_max(call: Call, image: Tensor, w: Window) -> tuple[Tensor, int]:
    if w.valid or w.same:
        return image, VALID if w.valid else windows.SAME
    lowest = float(np.finfo(np.float32).min)
    return windows.explicit_pad(call, image, w.before, w.needed_after, lowest), VALID


def _pool(call: Call, kind: str, image: Tensor, w: Window, padding: int) -> Tensor:
    options: dict[str, Any] = {
        "padding": padding,
        "strideH": w.stride[0], "strideW": w.stride[1],
        "filterHeight": w.kernel[0], "filterWidth": w.kernel[1],
        "fusedActivationFunction": 0,
    }  # fmt: skip
    return call.emit(kind, [image], (image.shape[0], *w.out, image.shape[3]), **options)


def _covered(w: Window, axis: int, counted: bool) -> lir.Array:
    """How many elements each window along one dimension is averaged over."""
    starts = np.arange(w.out[axis]) * w.stride[axis] - w.before[axis]
    low, high = (-w.before[axis], w.size[axis] + w.after[axis]) if counted else (0, w.size[axis])
    return np.asarray(np.minimum(starts + w.kernel[axis], high) - np.maximum(starts, low))


LOWERINGS = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
}
