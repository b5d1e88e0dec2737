"""Conv: 1-D and 2-D; plain, grouped, depthwise and dilated."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops import window as windows
from edgecut.targets.tflite.ops.base import Call
from edgecut.targets.tflite.ops.window import Window


def conv(call: Call) -> Tensor:
    """[N, C, (H,) W] with weights [M, C/group, (kH,) kW] -> [N, M, (oH,) oW]."""
    call.float_only(0, 1)
    return convolution(call, call.input(0), call.input(1), call.input(2) if call.has(2) else None)


def convolution(call: Call, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """The same of given tensors."""
    group = int(call.attribute("group", 1))
    call.need(x.rank in (3, 4), f"rank {x.rank} (1-D and 2-D convolutions are supported)")
    call.need(weights.is_constant or group == 1, "grouped, with weights that are not constant")
    w = windows.planar(windows.window(call, x.shape[2:], weights.shape[2:]))
    image = windows.to_channels_last(call, x)
    image, padding = windows.pad(call, image, w)
    kernel = call.reshape(weights, (*weights.shape[:2], *w.kernel))
    bias = bias or lir.constant(np.zeros(weights.shape[0], np.float32))
    out = _convolve(call, image, kernel, bias, group, w, padding)
    return windows.from_channels_last(call, out, x.rank)


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
