"""ConvTranspose: 1-D to 3-D, grouped, with any padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops import window as windows
from edgecut.targets.tflite.ops.base import Call


def conv_transpose(call: Call) -> Tensor:
    """[N, C, (D, H,) W] with weights [C, M/group, (kD, kH,) kW] -> [N, M, (oD, oH,) oW]."""
    call.float_only(0, 1)
    x, weights, group = call.input(0), call.input(1), int(call.attribute("group", 1))
    call.need(x.rank in (3, 4, 5), f"rank {x.rank}")
    call.need(weights.is_constant, "weights are not constant")
    spatial = x.rank - 2
    weights = _dilated(weights, call.attribute("dilations") or [1] * spatial)
    size, kernel = list(x.shape[2:]), list(weights.shape[2:])
    stride = call.attribute("strides") or [1] * spatial
    full = [(n - 1) * s + k for n, s, k in zip(size, stride, kernel, strict=True)]
    begin, out = _crop(call, size, stride, full)
    ones = [1] * (2 - spatial)
    weights = call.reshape(weights, (*weights.shape[:2], *ones, *kernel))
    full, out, stride, begin = ones + full, ones + out, ones + stride, [0] * len(ones) + begin
    image = call.transpose(x, (0, 2, 3, 4, 1)) if spatial == 3 else windows.to_channels_last(call, x)
    if spatial < 3 and _is_same(image.shape[1:3], stride, full, begin, out):
        made = _grouped(call, image, weights, group, out, stride, windows.SAME)
    else:
        # Without padding, then cropped: TFLite's SAME takes the excess off elsewhere.
        made = _grouped(call, image, weights, group, full, stride, windows.VALID)
        made = _fit(call, made, begin, out)
    if spatial == 3:
        return call.transpose(made, (0, 4, 1, 2, 3))
    return windows.from_channels_last(call, made, x.rank)


def _is_same(
    size: Sequence[int], stride: list[int], full: list[int], begin: list[int], out: list[int]
) -> bool:
    """Whether TFLite's SAME crops the same, where anything is cropped at all."""
    fits = all(
        -(-o // s) == n and f >= o and b == (f - o) // 2
        for n, s, f, b, o in zip(size, stride, full, begin, out, strict=True)
    )
    return fits and full != out


def _crop(call: Call, size: list[int], stride: list[int], full: list[int]) -> tuple[list[int], list[int]]:
    """Where the wanted part of the full result begins, and its size."""
    rank = len(size)
    extra = call.attribute("output_padding") or [0] * rank
    pads = call.attribute("pads") or [0] * (2 * rank)
    wanted = call.attribute("output_shape")
    mode = call.attribute("auto_pad", "NOTSET")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(size, stride, strict=True)]
    if wanted is None:
        out = [f + e - pads[i] - pads[i + rank] for i, (f, e) in enumerate(zip(full, extra, strict=True))]
        return pads[:rank], out
    total = [f + e - w for f, e, w in zip(full, extra, wanted[-rank:], strict=True)]
    begin = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
    return [max(b, 0) for b in begin], list(wanted[-rank:])


def _dilated(weights: Tensor, dilation: list[int]) -> Tensor:
    if set(dilation) == {1}:
        return weights
    plain = weights.quant is None or bool(weights.quant.zero.any())
    numbers = lir.real(weights) if plain else weights.data
    assert numbers is not None
    shape = [(k - 1) * d + 1 for k, d in zip(weights.shape[2:], dilation, strict=True)]
    spread = np.zeros((*weights.shape[:2], *shape), numbers.dtype)
    spread[(slice(None), slice(None), *(slice(None, None, d) for d in dilation))] = numbers
    return lir.constant(spread, None if plain else weights.quant)


def _grouped(
    call: Call, image: Tensor, weights: Tensor, group: int, size: list[int], stride: list[int], padding: int
) -> Tensor:
    """One operator, or one for each group."""
    channels = weights.shape[1]
    bias = call.input(2) if call.has(2) else lir.constant(np.zeros(channels * group, np.float32))
    if group == 1:
        return _one(call, image, weights, bias, size, stride, padding)
    call.need(group <= 64 and bias.is_constant, f"{group} groups")
    last = image.rank - 1
    shapes = [(*image.shape[:last], image.shape[last] // group)] * group
    images = call.emit_many("SPLIT", [lir.integers([last]), image], shapes, numSplits=group)
    assert weights.data is not None
    filters = [lir.constant(part, weights.quant) for part in np.split(weights.data, group)]
    biases = [lir.constant(part) for part in np.split(lir.real(bias), group)]
    parts = [
        _one(call, i, w, b, size, stride, padding) for i, w, b in zip(images, filters, biases, strict=True)
    ]
    shape = (image.shape[0], *size, channels * group)
    return call.emit("CONCATENATION", parts, shape, axis=last, fusedActivationFunction=0)


def _one(
    call: Call, image: Tensor, weights: Tensor, bias: Tensor, size: list[int], stride: list[int], padding: int
) -> Tensor:
    shape = (image.shape[0], *size, weights.shape[1])
    if image.rank == 5:
        return _volume(call, image, lir.real(weights), bias, shape, stride)
    kernel = call.transpose(weights, (1, 2, 3, 0))
    (out,) = lir.emit(
        "TRANSPOSE_CONV",
        [lir.integers(shape), kernel, image, bias],
        [shape],
        [np.float32],
        call.sources,
        {"padding": padding, "strideH": stride[0], "strideW": stride[1], "fusedActivationFunction": 0},
    )
    return out


def _volume(
    call: Call, image: Tensor, weights: lir.Array, bias: Tensor, shape: tuple[int, ...], stride: list[int]
) -> Tensor:
    """Over [N, D, H, W, C]; the bias comes after it."""
    kernel = lir.constant(weights.transpose(2, 3, 4, 1, 0))
    options: dict[str, Any] = {
        "padding": windows.VALID, "strideD": stride[0], "strideH": stride[1], "strideW": stride[2],
        "dilationDFactor": 1, "dilationHFactor": 1, "dilationWFactor": 1, "fusedActivationFunction": 0,
    }  # fmt: skip
    inputs = [lir.integers(shape), kernel, image]
    (out,) = lir.emit("CONV_3D_TRANSPOSE", inputs, [shape], [np.float32], call.sources, options)
    return call.binary("ADD", out, call.reshape(bias, (1, 1, 1, 1, shape[4])))


def _fit(call: Call, image: Tensor, begin: list[int], out: list[int]) -> Tensor:
    """Crop to the wanted part; what lies beyond the full result holds the bias alone."""
    after = [o - (n - b) for o, n, b in zip(out, image.shape[1:-1], begin, strict=True)]
    before = [-b for b in begin]
    known = call.known(2)
    if max(after) <= 0 or not call.has(2) or (known is not None and not known.any()):
        return windows.explicit_pad(call, image, before, after)
    raise_bias = call.reshape(call.input(2), (*[1] * (image.rank - 1), image.shape[-1]))
    plain = call.binary("SUB", image, raise_bias)
    return call.binary("ADD", windows.explicit_pad(call, plain, before, after), raise_bias)


LOWERINGS = {"ConvTranspose": conv_transpose}
