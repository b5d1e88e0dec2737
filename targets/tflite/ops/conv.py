"""Conv: 1-D to 3-D; plain, grouped, depthwise and dilated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops import window as windows
from edgecut.targets.tflite.ops.base import Call
from edgecut.targets.tflite.ops.window import Window

_MOST = 64
"""Groups up to which each is a convolution of its own."""


def conv(call: Call) -> Tensor:
    """[N, C, (D, H,) W] with weights [M, C/group, (kD, kH,) kW] -> [N, M, (oD, oH,) oW]."""
    call.float_only(0, 1)
    return convolution(call, call.input(0), call.input(1), call.input(2) if call.has(2) else None)


def convolution(call: Call, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """The same of given tensors."""
    group = int(call.attribute("group", 1))
    call.need(x.rank in (3, 4, 5), f"rank {x.rank} (1-D to 3-D convolutions are supported)")
    bias = bias or lir.constant(np.zeros(weights.shape[0], np.float32))
    if group > 1 and not weights.is_constant:
        return _grouped(call, x, weights, bias, group)
    if x.rank == 5:
        return _volume(call, x, weights, bias, group)
    return _planar(call, x, weights, bias, group)


def _planar(call: Call, x: Tensor, weights: Tensor, bias: Tensor, group: int) -> Tensor:
    w = windows.planar(windows.window(call, x.shape[2:], weights.shape[2:]))
    image = windows.to_channels_last(call, x)
    image, padding = windows.pad(call, image, w)
    kernel = call.reshape(weights, (*weights.shape[:2], *w.kernel))
    out = _convolve(call, image, kernel, bias, group, w, padding)
    return windows.from_channels_last(call, out, x.rank)


def _grouped(call: Call, x: Tensor, weights: Tensor, bias: Tensor, group: int) -> Tensor:
    """Group by group: the kernels take grouped weights only where they are constant."""
    call.need(group <= _MOST, f"{group} groups, with weights that are not constant")
    images = _split(call, x, 1, group)
    pairs = zip(images, _split(call, weights, 0, group), _split(call, bias, 0, group), strict=True)
    one = _volume if x.rank == 5 else _planar
    parts = [one(call, image, kernel, own, 1) for image, kernel, own in pairs]
    shape = (parts[0].shape[0], weights.shape[0], *parts[0].shape[2:])
    return call.emit("CONCATENATION", parts, shape, axis=1, fusedActivationFunction=0)


def _split(call: Call, tensor: Tensor, axis: int, parts: int) -> Sequence[Tensor]:
    if tensor.is_constant:
        return [lir.constant(part) for part in np.split(lir.real(tensor), parts, axis)]
    shape = (*tensor.shape[:axis], tensor.shape[axis] // parts, *tensor.shape[axis + 1 :])
    return call.emit_many("SPLIT", [lir.integers([axis]), tensor], [shape] * parts, numSplits=parts)


def _volume(call: Call, x: Tensor, weights: Tensor, bias: Tensor, group: int) -> Tensor:
    """Over [N, C, D, H, W]: for each plane of the kernel a 2-D convolution of all that it sees, summed."""
    call.need(weights.is_constant, "three dimensions, with weights that are not constant")
    call.need(bias.is_constant, "three dimensions, with a bias that is not constant")
    w = windows.window(call, x.shape[2:], weights.shape[2:])
    n, plane = x.shape[0], windows.part(w, slice(1, 3))
    stack = call.transpose(x, (0, 2, 3, 4, 1))
    low, high = w.before[0], max(w.needed_after[0], 0)
    if low or high:
        rows = np.zeros((5, 2), np.int32)
        rows[1] = low, high
        stack = call.emit(
            "PAD", [stack, lir.constant(rows)], (n, stack.shape[1] + low + high, *stack.shape[2:])
        )
    kernels = lir.real(weights)
    total: Tensor | None = None
    for depth in range(w.kernel[0]):
        planes = _every(call, stack, depth * w.dilation[0], w.out[0], w.stride[0])
        image = call.reshape(planes, (n * w.out[0], *planes.shape[2:]))
        image, padding = windows.pad(call, image, plane)
        own = bias if depth == 0 else lir.constant(np.zeros(weights.shape[0], np.float32))
        made = _convolve(call, image, lir.constant(kernels[:, :, depth]), own, group, plane, padding)
        total = made if total is None else call.binary("ADD", total, made)
    assert total is not None
    made = call.reshape(total, (n, *w.out, weights.shape[0]))
    return call.transpose(made, (0, 4, 1, 2, 3))


def _every(call: Call, stack: Tensor, start: int, count: int, step: int) -> Tensor:
    """Some planes of [N, D, H, W, C], ``step`` apart."""
    shape = (stack.shape[0], count, *stack.shape[2:])
    begin = lir.integers((0, start, 0, 0, 0))
    if step == 1:
        return (
            stack if shape == stack.shape else call.emit("SLICE", [stack, begin, lir.integers(shape)], shape)
        )
    stop = lir.integers((stack.shape[0], start + (count - 1) * step + 1, *stack.shape[2:]))
    masks: dict[str, Any] = dict.fromkeys(
        ("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask"), 0
    )
    return call.emit("STRIDED_SLICE", [stack, begin, stop, lir.integers((1, step, 1, 1, 1))], shape, **masks)


def _convolve(
    call: Call, image: Tensor, kernel: Tensor, bias: Tensor, group: int, w: Window, padding: int
) -> Tensor:
    """Convolve channels-last ``image`` with ``kernel`` [M, C/group, kH, kW]."""
    shape = (image.shape[0], *w.out, kernel.shape[0])
    options: dict[str, Any] = {
        "padding": padding,
        "strideH": w.stride[0], "strideW": w.stride[1],
        "dilationHFactor": w.dilation[0], "dilationWFactor": w.dilation[1],
        "fusedActivationFunction": 0,
    }  # fmt: skip
    if group > 1 and kernel.shape[1] == 1 and group == image.shape[3]:
        weights = call.transpose(kernel, (1, 2, 3, 0))
        options["depthMultiplier"] = kernel.shape[0] // group
        return call.emit("DEPTHWISE_CONV_2D", [image, weights, bias], shape, **options)
    weights = call.transpose(kernel, (0, 2, 3, 1))
    return call.emit("CONV_2D", [image, weights, bias], shape, **options)


LOWERINGS = {"Conv": conv}
