"""Scales and zero points: from ranges of activations, and from the weights themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# A bias is an int32 of scale input*weight; this much of the int32 range is left for the sum it begins.
_BIAS_LIMIT = float(1 << 30)
# A channel this much smaller than the largest one is nothing but rounding noise of the others.
_SMALLEST_CHANNEL = 2.0**-16
_SMALLEST_SCALE = 1e-10


@dataclass(frozen=True)
class Grid:
    """The int8 grid of a tensor: ``real = scale * (integer - zero_point)``."""

    scale: float
    zero_point: int

    def quantize(self, array: Floats) -> NDArray[np.int8]:
        """Round to the grid, ties to even, saturating."""
        steps = np.rint(array / np.float32(self.scale)) + self.zero_point
        return np.asarray(np.clip(steps, -128, 127), np.int8)


def asymmetric(low: float, high: float) -> Grid:
    """The grid that spans a range; zero, which pads and skipped taps need exactly, is always on it."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32(max((high - low) / 255, _SMALLEST_SCALE)))
    return Grid(scale, int(np.clip(round(-128 - low / scale), -128, 127)))


def symmetric(low: float, high: float) -> Grid:
    """The grid that spans a range with zero at 0; -128 is not used."""
    return Grid(float(np.float32(max(abs(low), abs(high), 127 * _SMALLEST_SCALE) / 127)), 0)


def channel_scales(weight: Floats, axis: int, bias: Floats | None, input_scale: float) -> Floats:
    """Symmetric scale of each output channel, so that weights fit int8 and biases fit int32.

    Args:
        weight: Any shape, finite.
        axis: Its output channels, of which there are ``weight.shape[axis]``.
        bias: One per channel, or None.
        input_scale: Scale of the activation that the weights are multiplied with.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scales = np.abs(weight).max(axis=others).astype(np.float64) / 127
    scales = np.maximum(scales, max(float(scales.max(initial=0)) * _SMALLEST_CHANNEL, _SMALLEST_SCALE))
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias.astype(np.float64)) / (input_scale * _BIAS_LIMIT))
    return np.asarray(scales, np.float32)


def quantize_weight(weight: Floats, scales: Floats, axis: int) -> NDArray[np.int8]:
    """Round weights to a symmetric grid per channel; -128 is not used, as TFLite's kernels require."""
    shape = [1] * weight.ndim
    shape[axis] = -1
    return np.asarray(np.clip(np.rint(weight / scales.reshape(shape)), -127, 127), np.int8)


def quantize_bias(bias: Floats, scales: Floats) -> NDArray[np.int32]:
    """Round a bias to the grid of the accumulator, whose scale per channel is input times weight."""
    return np.rint(bias.astype(np.float64) / scales.astype(np.float64)).astype(np.int32)


def constant_array(value: oir.Value | None) -> Floats:
    """The numbers of an initializer, as float32."""
    if value is None or value.const_value is None:
        raise ValueError(f"{value} is no constant")
    return np.asarray(value.const_value.numpy(), np.float32)
