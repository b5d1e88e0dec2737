"""Scales and zero points: from ranges of activations, and from the weights themselves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# How far a channel's range is cut for fewer bits, in the order in which it is tried.
_SHARES = np.linspace(1.0, 0.5, 26)
# A bias is an int32 of scale input*weight; this much of the int32 range is left for the sum it begins.
_BIAS_LIMIT = float(1 << 30)
# A channel this much smaller than the largest one is nothing but rounding noise of the others.
_SMALLEST_CHANNEL = 2.0**-16
_SMALLEST_SCALE = 1e-10
# Weights whose scales are remembered.
_MOST_FOUND = 4096
_FOUND: dict[bytes, NDArray[np.float64]] = {}
# Weights this near to integers, in steps, are integers: float32 holds the largest, 127, to 1e-5.
_ON_GRID = 1e-3


@dataclass(frozen=True)
class Grid:
    """The grid of a tensor: ``real = scale * (integer - zero_point)``."""

    scale: float
    zero_point: int
    dtype: Literal["int8", "int16"] = "int8"

    def quantize(self, array: Floats) -> NDArray[np.signedinteger]:
        """Round to the grid, ties to even, saturating."""
        limits = np.iinfo(self.dtype)
        steps = np.rint(array / np.float32(self.scale)) + self.zero_point
        return np.asarray(np.clip(steps, limits.min, limits.max), self.dtype)

    def round(self, array: Floats) -> Floats:
        """The numbers of the grid that these become."""
        steps = self.quantize(array).astype(np.float32) - np.float32(self.zero_point)
        return np.asarray(steps * np.float32(self.scale), np.float32)


def asymmetric(low: float, high: float) -> Grid:
    """The grid that spans a range; zero, which pads and skipped taps need exactly, is always on it."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32(max((high - low) / 255, _SMALLEST_SCALE)))
    return Grid(scale, int(np.clip(round(-128 - low / scale), -128, 127)))


def symmetric(low: float, high: float, dtype: Literal["int8", "int16"] = "int8") -> Grid:
    """The grid that spans a range with zero at 0; the most negative integer is not used."""
    most = np.iinfo(dtype).max
    return Grid(float(np.float32(max(abs(low), abs(high), most * _SMALLEST_SCALE) / most)), 0, dtype)


def channel_scales(
    weight: Floats, axis: int, bias: Floats | None, input_scale: float, most: int = 127
) -> Floats:
    """Symmetric scale of each output channel, so that weights fit their integers and biases fit int32.

    The largest weights of a channel are cut off where that makes its mean squared error smaller.

    Args:
        weight: Any shape, finite.
        axis: Its output channels, of which there are ``weight.shape[axis]``.
        bias: One per channel, or None.
        input_scale: Scale of the activation that the weights are multiplied with.
        most: The largest integer that a weight may be.
    """
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    scales = _least_error(rows, np.abs(rows).max(axis=1, initial=0).astype(np.float64) / most, most)
    scales = np.maximum(scales, max(float(scales.max(initial=0)) * _SMALLEST_CHANNEL, _SMALLEST_SCALE))
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias.astype(np.float64)) / (input_scale * _BIAS_LIMIT))
    return np.asarray(scales, np.float32)


def quantize_weight(weight: Floats, scales: Floats, axis: int, most: int = 127) -> NDArray[np.int8]:
    """Round weights to a symmetric grid per channel; -128 is not used, as TFLite's kernels require."""
    shape = [1] * weight.ndim
    shape[axis] = -1
    return np.asarray(np.clip(np.rint(weight / scales.reshape(shape)), -most, most), np.int8)


def are_on_grid(weight: Floats, scales: Floats, axis: int) -> NDArray[np.bool_]:
    """Which channels hold whole multiples of their scales, as those of a model that was quantized once do."""
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1) / scales[:, None]
    return np.asarray(np.abs(rows - np.rint(rows)).max(axis=1, initial=0) < _ON_GRID)


def quantize_bias(bias: Floats, scales: Floats) -> NDArray[np.int32]:
    """Round a bias to the grid of the accumulator, whose scale per channel is input times weight."""
    return np.rint(bias.astype(np.float64) / scales.astype(np.float64)).astype(np.int32)


def constant_array(value: oir.Value | None) -> Floats:
    """The numbers of an initializer, as float32."""
    if value is None or value.const_value is None:
        raise ValueError(f"{value} is no constant")
    return np.asarray(value.const_value.numpy(), np.float32)


def _least_error(rows: Floats, largest: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Of scales that cut off ever more, those with the least squared error of each row.

    Remembered, since a program is quantized many times over with the same weights.
    """
    key = hashlib.sha256(rows.tobytes()).digest() + bytes(f"{rows.shape} {most}", "ascii")
    if key not in _FOUND:
        if len(_FOUND) >= _MOST_FOUND:
            _FOUND.clear()
        _FOUND[key] = _searched(rows, largest, most)
    return _FOUND[key]


def _searched(rows: Floats, largest: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    best, least = largest, np.full(len(rows), np.inf)
    for share in _SHARES:
        scales = np.maximum(largest * share, _SMALLEST_SCALE)[:, None]
        error = ((np.clip(np.rint(rows / scales), -most, most) * scales - rows) ** 2).sum(axis=1)
        best, least = np.where(error < least, scales[:, 0], best), np.minimum(error, least)
    return best
