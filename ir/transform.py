"""The linear part of an encoding: what turns a value into numbers that are rounded, and its inverse.

Channels are decorrelated, and means taken away, by a matrix (or one factor per channel); a cosine
transform (DCT-II, orthonormal) follows along space or time. All of it is linear, so the steps are folded
into the matrix: what comes out is counted in steps and only has to be rounded.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecut.ir.annotations import Coding
from edgecut.ir.encoding import INTEGERS, Spec
from edgecut.ir.errors import ModelError

Floats = NDArray[np.float32]

DEAD_ZONE = 115 / 256
"""A transformed number is rounded up from 1 - this. A wider dead zone would be best for squared errors
(G. Sullivan, "Efficient scalar quantization of exponential and Laplacian random variables", 1996), but it
shrinks all numbers alike, and a network suffers more from that than from as much independent noise."""


@dataclass(frozen=True)
class Transform:
    """``y = spectrum(matrix @ (x - offset))`` along the channels, and back.

    Args:
        shape: Of the value, the batch first.
        channel: Axis of the channels.
        matrix: float32 ``[C, C]``, or ``[C]`` where it is diagonal.
        inverse: Likewise.
        bias: float32 ``[C]``, added to ``matrix @ x``.
        offset: float32 ``[C]``, added to ``inverse @ y``.
        spectrum: Whether the other axes are transformed.
        rounding: Added to a magnitude before it is cut off to an integer.
        clamp: Whether the value is never negative.
        emphasis: float32, for each of `axes` the weights of its frequencies; none: 1.
    """

    shape: tuple[int, ...]
    channel: int
    matrix: Floats
    inverse: Floats
    bias: Floats
    offset: Floats
    spectrum: bool
    rounding: float
    clamp: bool
    emphasis: tuple[Floats, ...] = ()

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes along space or time."""
        return tuple(a for a in range(1, len(self.shape)) if a != self.channel)

    @property
    def order(self) -> tuple[int, ...]:
        """Axes of the value in the order of the transformed one.

        A spectrum has its channels first, other values have them last, as the edge's kernels do.
        """
        if self.spectrum:
            return (0, self.channel, *reversed(self.axes))
        return (0, *self.axes, self.channel)

    @property
    def coded_shape(self) -> tuple[int, ...]:
        """Shape of the transformed value."""
        return tuple(self.shape[axis] for axis in self.order)

    def waves(self, i: int, *, back: bool = False) -> Floats:
        """Rows of the cosine transform of one of `axes`, with their weights; or those that undo it."""
        rows = cosines(self.shape[self.axes[i]])
        if not self.emphasis:
            return rows
        weight = self.emphasis[i][:, None]
        return rows / weight if back else rows * weight

    def forward(self, value: Floats) -> Floats:
        """The transformed value, in steps; any number of samples along the first axis."""
        y = np.moveaxis(value, self.channel, -1)
        y = (y @ self.matrix.T if self.matrix.ndim == 2 else y * self.matrix) + self.bias
        if not self.spectrum:
            return np.ascontiguousarray(y)
        for i in range(len(self.axes)):
            y = np.moveaxis(np.moveaxis(y, i + 1, -1) @ self.waves(i).T, -1, i + 1)
        return np.ascontiguousarray(y.transpose(0, y.ndim - 1, *range(y.ndim - 2, 0, -1)))

    def backward(self, coded: Floats) -> Floats:
        """The value that a transformed one stands for."""
        y = coded
        if self.spectrum:
            y = y.transpose(0, *range(y.ndim - 1, 1, -1), 1)
            for i in range(len(self.axes)):
                y = np.moveaxis(np.moveaxis(y, i + 1, -1) @ self.waves(i, back=True), -1, i + 1)
        x = (y @ self.inverse.T if self.inverse.ndim == 2 else y * self.inverse) + self.offset
        x = np.maximum(x, 0) if self.clamp else x
        return np.ascontiguousarray(np.moveaxis(x, -1, self.channel))


def make(spec: Spec, coding: Coding, shape: tuple[int, ...]) -> Transform:
    """The transform of an encoding that sends integers made of floats.

    Raises:
        ModelError: The statistics do not allow it.
    """
    mean, least, greatest = (unpack(text) for text in (coding.mean, coding.least, coding.greatest))
    clamp = bool(least.min() >= 0)
    channels = len(mean)
    if spec.kind in INTEGERS:
        factor, zero = _affine(spec, least, greatest)
        matrix, inverse, bias, offset = 1 / factor, factor, zero, -zero * factor
    else:
        step = spec.step * coding.deviation
        # Without a transform zeros behind a ReLU stay zeros.
        offset = np.zeros_like(mean) if spec.kind == "step" and clamp else mean
        rows = _basis(coding, channels) if spec.klt else _weights(coding, channels)
        matrix, inverse = rows / step, (np.linalg.inv(rows) if spec.klt else 1 / rows) * step
        bias = -(matrix @ offset if spec.klt else matrix * offset)
    arrays = {"matrix": matrix, "inverse": inverse, "bias": bias, "offset": offset}
    found = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    rounding = 0.5 if spec.kind in INTEGERS else DEAD_ZONE
    emphasis = tuple(unpack(text) for text in coding.emphasis) if spec.dct else ()
    return Transform(
        shape, coding.channel, **found, spectrum=spec.dct, rounding=rounding, clamp=clamp, emphasis=emphasis
    )


def limits(spec: Spec) -> tuple[int, int]:
    """Lowest and highest integer of int8 and int4."""
    bits = 4 if spec.kind == "int4" else 8
    return -(1 << bits - 1), (1 << bits - 1) - 1


def _affine(spec: Spec, least: Floats, greatest: Floats) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale and zero point per channel; zero is always exact."""
    if spec.axis == "tensor":
        least, greatest = (np.full_like(a, f(a)) for a, f in ((least, np.min), (greatest, np.max)))
    low, high = limits(spec)
    bottom = np.minimum(least.astype(np.float64), 0)
    scale = np.maximum(np.maximum(greatest, 0) - bottom, 1e-12) / (high - low)
    return scale, np.round(-bottom / scale) + low


def _basis(coding: Coding, channels: int) -> NDArray[np.float64]:
    if not coding.basis:
        raise ModelError("its channels could not be decorrelated", hint="more calibration data, or dct")
    return unpack(coding.basis).reshape(channels, channels).astype(np.float64)


def _weights(coding: Coding, channels: int) -> NDArray[np.float64]:
    return unpack(coding.weights).astype(np.float64) if coding.weights else np.ones(channels)


@lru_cache(maxsize=64)
def cosines(n: int) -> Floats:
    """Rows of the orthonormal DCT-II of n points."""
    k = np.arange(n)[:, None]
    rows = np.sqrt(2 / n) * np.cos(np.pi * (np.arange(n) + 0.5) * k / n)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, np.float32)


def pack(array: NDArray[Any]) -> str:
    """Floats as text."""
    raw = np.ascontiguousarray(array, "<f4").tobytes()
    return base64.b64encode(zlib.compress(raw, 9)).decode("ascii")


def unpack(text: str) -> Floats:
    """The inverse of `pack`, flat.

    Raises:
        ModelError: The text holds no floats.
    """
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), "<f4")
    except (ValueError, zlib.error) as error:
        raise ModelError(f"coding statistics do not decode: {error}") from error
