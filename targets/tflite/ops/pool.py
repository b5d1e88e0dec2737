"""Pools: maximum, average and Lp (any padding, ceil_mode, 1-D to 3-D), global ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops import window as windows
from edgecut.targets.tflite.ops.base import Call
from edgecut.targets.tflite.ops.window import VALID, Window


def max_pool(call: Call) -> Tensor:
    """[N, C, (D, H,) W] -> [N, C, (oD, oH,) oW]."""
    indices = call.node.outputs[1] if len(call.node.outputs) > 1 else None
    call.need(indices is None or not (indices.uses() or indices.is_graph_output()), "its indices are used")
    x = call.input(0)
    return call.unrounded(x, lambda t: _max_pool(call, t))


def _max_pool(call: Call, x: Tensor) -> Tensor:
    if x.rank == 5:
        return _volume(call, x, _max_pool_of)
    return _max_pool_of(call, x, _window(call, x))


def _max_pool_of(call: Call, x: Tensor, w: Window) -> Tensor:
    if set(w.dilation) != {1}:
        return _dilated_max(call, x, w)
    image = windows.to_channels_last(call, x)
    image, padding = _pad_max(call, image, w)
    out = _pool(call, "MAX_POOL_2D", image, w, padding)
    return windows.from_channels_last(call, out, x.rank)


def average_pool(call: Call) -> Tensor:
    """[N, C, (D, H,) W] -> [N, C, (oD, oH,) oW]."""
    call.float_only()
    x = call.input(0)
    return _volume(call, x, _average) if x.rank == 5 else _average(call, x, _window(call, x))


def lp_pool(call: Call) -> Tensor:
    """The p-th root of the sum of p-th powers."""
    call.float_only()
    x, p = call.input(0), float(call.attribute("p", 2))
    powers = call.unary("SQUARE", x) if p == 2 else call.binary("POW", call.unary("ABS", x), call.scalar(p))
    total = _volume(call, powers, _total) if x.rank == 5 else _total(call, powers, _window(call, x))
    return call.unary("SQRT", total) if p == 2 else call.binary("POW", total, call.scalar(1 / p))


def global_lp_pool(call: Call) -> Tensor:
    """The same over all of space."""
    call.float_only()
    x, p = call.input(0), float(call.attribute("p", 2))
    powers = call.unary("SQUARE", x) if p == 2 else call.binary("POW", call.unary("ABS", x), call.scalar(p))
    axes = range(2, x.rank)
    total = call.emit("SUM", [powers, lir.integers(axes)], (*x.shape[:2], *[1] * len(axes)), keepDims=True)
    return call.unary("SQRT", total) if p == 2 else call.binary("POW", total, call.scalar(1 / p))


def _total(call: Call, x: Tensor, w: Window) -> Tensor:
    """The sum over each window."""
    if set(w.dilation) != {1}:
        return windows.from_channels_last(call, _summed(call, x, w), x.rank)
    # Zeros in the padding count in the average, so that every window is divided by the same.
    image = windows.explicit_pad(call, windows.to_channels_last(call, x), w.before, w.needed_after)
    mean = _pool(call, "AVERAGE_POOL_2D", image, w, VALID)
    total = call.binary("MUL", mean, call.scalar(float(np.prod(w.kernel))))
    return windows.from_channels_last(call, total, x.rank)


def _summed(call: Call, x: Tensor, w: Window) -> Tensor:
    """The sum over each dilated window, channels last: by a convolution with ones, as no pool is dilated."""
    image = windows.explicit_pad(call, windows.to_channels_last(call, x), w.before, w.needed_after)
    channels = image.shape[3]
    ones, zeros = np.ones((1, *w.kernel, channels), np.float32), np.zeros(channels, np.float32)
    options: dict[str, Any] = {
        "padding": VALID, "depthMultiplier": 1, "fusedActivationFunction": 0,
        "strideH": w.stride[0], "strideW": w.stride[1],
        "dilationHFactor": w.dilation[0], "dilationWFactor": w.dilation[1],
    }  # fmt: skip
    inputs = [image, lir.constant(ones), lir.constant(zeros)]
    return call.emit("DEPTHWISE_CONV_2D", inputs, (image.shape[0], *w.out, channels), **options)


def _average(call: Call, x: Tensor, w: Window) -> Tensor:
    """The mean over each window; whether padding counts as elements, the node says."""
    counted = bool(call.attribute("count_include_pad", 0))
    counts = np.multiply.outer(*(_covered(w, axis, counted) for axis in (0, 1)))
    if set(w.dilation) != {1}:
        shares = lir.constant((1 / counts).astype(np.float32)[None, :, :, None])
        return windows.from_channels_last(call, call.binary("MUL", _summed(call, x, w), shares), x.rank)
    image = windows.to_channels_last(call, x)
    if w.valid or (w.same and not counted):
        out = _pool(call, "AVERAGE_POOL_2D", image, w, VALID if w.valid else windows.SAME)
        return windows.from_channels_last(call, out, x.rank)
    image = windows.explicit_pad(call, image, w.before, w.needed_after)
    out = _pool(call, "AVERAGE_POOL_2D", image, w, VALID)
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


def _window(call: Call, x: Tensor) -> Window:
    call.need(x.rank in (3, 4), f"rank {x.rank}")
    return windows.planar(windows.window(call, x.shape[2:], call.attribute("kernel_shape")))


def _volume(call: Call, x: Tensor, pool: Callable[[Call, Tensor, Window], Tensor]) -> Tensor:
    """Over [N, C, D, H, W]: over the planes, then over what the planes are stacked along."""
    w = windows.window(call, x.shape[2:], call.attribute("kernel_shape"))
    n, c, d = x.shape[:3]
    planes = pool(call, call.reshape(x, (n, c * d, *x.shape[3:])), windows.part(w, slice(1, 3)))
    size = int(np.prod(planes.shape[2:]))
    columns = call.reshape(planes, (n * c, 1, d, size))
    out = pool(call, columns, _widened(w, size))
    return call.reshape(out, (n, c, *w.out))


def _widened(w: Window, size: int) -> Window:
    """The first dimension of a window, beside one of ``size`` that it does not touch."""
    return Window(
        (w.size[0], size), (w.kernel[0], 1), (w.stride[0], 1), (w.dilation[0], 1),
        (w.before[0], 0), (w.after[0], 0), (w.out[0], size),
    )  # fmt: skip


def _dilated_max(call: Call, x: Tensor, w: Window) -> Tensor:
    """The largest of the strided views that the elements of the window see."""
    image = windows.to_channels_last(call, x)
    image = windows.explicit_pad(call, image, w.before, w.needed_after, float(np.finfo(np.float32).min))
    found: Tensor | None = None
    for i, j in np.ndindex(*w.kernel):
        begin = (0, i * w.dilation[0], j * w.dilation[1], 0)
        ends = [b + (o - 1) * s + 1 for b, o, s in zip(begin[1:3], w.out, w.stride, strict=True)]
        stop, step = (image.shape[0], *ends, image.shape[3]), (1, *w.stride, 1)
        masks: dict[str, Any] = dict.fromkeys(
            ("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask"), 0
        )
        inputs = [image, *map(lir.integers, (begin, stop, step))]
        view = call.emit("STRIDED_SLICE", inputs, (image.shape[0], *w.out, image.shape[3]), **masks)
        found = view if found is None else call.binary("MAXIMUM", found, view)
    assert found is not None
    return windows.from_channels_last(call, found, x.rank)


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
    places = np.add.outer(starts, np.arange(w.kernel[axis]) * w.dilation[axis])
    return np.asarray(((places >= low) & (places < high)).sum(axis=1))


LOWERINGS = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "LpPool": lp_pool,
    "GlobalLpPool": global_lp_pool,
}
