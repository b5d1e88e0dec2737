"""DFT and STFT of known lengths, as products with constant matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Tensor
from edgecut.targets.tflite.ops import window as windows
from edgecut.targets.tflite.ops.base import Call
from edgecut.targets.tflite.ops.matmul import fully_connected

_LARGEST = 1 << 24
"""Numbers that a matrix may have."""


def dft(call: Call) -> Tensor:
    """[..., n, ..., 1 or 2] along one axis; the last is real and imaginary part, or the real part alone."""
    call.float_only()
    x = call.input(0)
    last = -2 if call.opset >= 20 else 1
    axis = int(call.constant(2, "axis").ravel()[0]) if call.has(2) else int(call.attribute("axis", last))
    axis = call.axis(axis, x.rank)
    length = int(call.constant(1, "length").ravel()[0]) if call.has(1) else x.shape[axis]
    inverse, onesided = bool(call.attribute("inverse", 0)), bool(call.attribute("onesided", 0))
    real = inverse and onesided
    if real and not call.has(1):
        length = 2 * (x.shape[axis] - 1)
    call.need(length > 0 and length * x.shape[axis] * 4 <= _LARGEST, f"{length} points")
    full = _matrix(length, inverse=inverse)
    if real:  # the other side is the conjugate of this one
        full[:, :, 1 : (length + 1) // 2] *= 2
    bins = length // 2 + 1 if onesided and not inverse else length
    # What is longer is cut off, what is shorter is padded with zeros.
    used = min(length // 2 + 1 if real else length, x.shape[axis])
    parts = 1 if real else 2
    table = np.zeros((bins, parts, x.shape[axis], x.shape[-1]))
    table[:, :, :used] = full[:bins, :parts, :used, : x.shape[-1]]
    order = [i for i in range(x.rank - 1) if i != axis] + [axis, x.rank - 1]
    moved = call.transpose(x, order)
    rows = call.reshape(moved, (*moved.shape[:-2], moved.shape[-2] * moved.shape[-1]))
    rows = rows if rows.rank > 1 else call.reshape(rows, (1, *rows.shape))
    weights = lir.constant(table.reshape(bins * parts, -1).astype(np.float32))
    made = call.reshape(fully_connected(call, rows, weights, None), (*moved.shape[:-2], bins, parts))
    return call.transpose(made, np.argsort(order).tolist())


def stft(call: Call) -> Tensor:
    """[N, samples, 1 or 2] -> [N, frames, bins, 2]: a convolution with windowed waves."""
    call.float_only()
    x = call.input(0)
    x = x if x.rank == 3 else call.reshape(x, (*x.shape, 1))
    step = int(call.constant(1, "the step of frames").ravel()[0])
    window = call.constant(2, "the window").astype(np.float64) if call.has(2) else None
    call.need(window is not None or call.has(3), "neither window nor frame length")
    length = int(call.constant(3, "frame length").ravel()[0]) if call.has(3) else len(window)  # type: ignore[arg-type]
    frames = (x.shape[1] - length) // step + 1
    call.need(frames > 0, "a frame is longer than the signal")
    bins = length // 2 + 1 if call.attribute("onesided", 1) else length
    waves = _matrix(length)[:bins, :, :, : x.shape[2]] * (1 if window is None else window[:, None])
    call.need(waves.size <= _LARGEST, f"frames of {length} samples")
    kernel = lir.constant(waves.reshape(2 * bins, 1, length, x.shape[2]).astype(np.float32))
    image = call.reshape(x, (x.shape[0], 1, *x.shape[1:]))
    inputs = [image, kernel, lir.constant(np.zeros(2 * bins, np.float32))]
    options: dict[str, Any] = {"padding": windows.VALID, "strideH": 1, "strideW": step, "dilationHFactor": 1,
               "dilationWFactor": 1, "fusedActivationFunction": 0}  # fmt: skip
    made = call.emit("CONV_2D", inputs, (x.shape[0], 1, frames, 2 * bins), **options)
    return call.reshape(made, (x.shape[0], frames, bins, 2))


def _matrix(length: int, *, inverse: bool = False) -> Array:
    """[bins, 2, samples, 2]: what real and imaginary parts of samples give to those of bins."""
    # Exact for any length: the product of bin and sample is reduced before it becomes an angle.
    turns = np.multiply.outer(np.arange(length), np.arange(length)) % length
    angle = 2 * np.pi * turns / length * (1 if inverse else -1)
    cos, sin = np.cos(angle), np.sin(angle)
    both = np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 3, 1)
    return np.asarray(both / length if inverse else both)


LOWERINGS = {"DFT": dft, "STFT": stft}
