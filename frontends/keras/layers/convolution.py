"""Convolutions of one to three dimensions: plain, grouped, depthwise, separable, transposed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgecut.frontends.keras.graph import Value
from edgecut.frontends.keras.layers.activation import activated
from edgecut.frontends.keras.layers.base import Array, Layer, each


def _convolution(
    layer: Layer, x: str, kernel: Array, bias: Array | None, groups: int, strides: Any, dilations: Any
) -> str:
    """``kernel`` [out, in / groups, *window]."""
    rank = kernel.ndim - 2
    strides, dilations = each(strides, rank), each(dilations, rank)
    inputs = [x, layer.graph.constant(kernel, name="kernel")]
    if bias is not None:
        inputs.append(layer.graph.constant(bias, name="bias"))
    return layer.graph.make(
        "Conv", *inputs, kernel_shape=kernel.shape[2:], strides=strides, dilations=dilations, group=groups,
        **padding(layer, kernel.shape[2:], strides, dilations),
    )  # fmt: skip


def padding(
    layer: Layer, window: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    """Attributes for Keras' ``padding``."""
    kind = layer.get("padding", "valid")
    if kind == "same":
        if all(
            s == 1 for s in strides
        ):  # the only case for dilated windows, of which ONNX Runtime needs the pads
            cut = [(k - 1) * d for k, d in zip(window, dilations, strict=True)]
            return {"pads": [n // 2 for n in cut] + [n - n // 2 for n in cut]}
        if all(k == 1 for k in window):
            return {}
        # ONNX Runtime would pad by less than nothing where the windows do not touch.
        layer.need(all(k >= s for k, s in zip(window, strides, strict=True)), "of windows that do not touch")
        return {"auto_pad": "SAME_UPPER"}
    if kind == "causal":
        layer.need(len(window) == 1, "with padding 'causal'")
        return {"pads": [(window[0] - 1) * dilations[0], 0]}
    layer.need(kind == "valid", f"with padding {kind!r}")
    return {}


def _weights(layer: Layer, kernels: int) -> tuple[list[Array], Array | None]:
    has_bias = bool(layer.get("use_bias", True))
    found = layer.arrays(kernels + has_bias)
    return found[:kernels], found[-1] if has_bias else None


def _plain(layer: Layer) -> Value:
    (kernel,), bias = _weights(layer, 1)
    x = layer.x
    made = _convolution(
        layer, layer.moved(x), np.moveaxis(kernel, (-1, -2), (0, 1)), bias, int(layer.get("groups", 1)),
        layer.get("strides", 1), layer.get("dilation_rate", 1),
    )  # fmt: skip
    return activated(layer, layer.spatial(x.rank, made))


def _by_channel(kernel: Array) -> Array:
    """[*window, in, multiplier] -> [in * multiplier, 1, *window]."""
    moved = np.moveaxis(kernel, (-2, -1), (0, 1))
    return moved.reshape(-1, 1, *moved.shape[2:])


def _depthwise(layer: Layer) -> Value:
    (kernel,), bias = _weights(layer, 1)
    x = layer.x
    made = _convolution(
        layer, layer.moved(x), _by_channel(kernel), bias, kernel.shape[-2], layer.get("strides", 1),
        layer.get("dilation_rate", 1),
    )  # fmt: skip
    return activated(layer, layer.spatial(x.rank, made))


def _separable(layer: Layer) -> Value:
    (kernel, mixing), bias = _weights(layer, 2)
    x = layer.x
    made = _convolution(
        layer, layer.moved(x), _by_channel(kernel), None, kernel.shape[-2], layer.get("strides", 1),
        layer.get("dilation_rate", 1),
    )  # fmt: skip
    made = _convolution(layer, made, np.moveaxis(mixing, (-1, -2), (0, 1)), bias, 1, 1, 1)
    return activated(layer, layer.spatial(x.rank, made))


def _transposed(layer: Layer) -> Value:
    (kernel,), bias = _weights(layer, 1)  # [*window, out, in]
    x, window = layer.x, kernel.shape[:-2]
    strides = each(layer.get("strides", 1), len(window))
    layer.plain(output_padding=None, groups=1)
    layer.need(all(d == 1 for d in each(layer.get("dilation_rate", 1), len(window))), "with dilation")
    layer.need(layer.get("padding", "valid") in ("same", "valid"), f"with padding {layer.get('padding')!r}")
    # "same" gives size * stride, "valid" what the windows cover, and size * stride at least.
    over = [k - s for k, s in zip(window, strides, strict=True)]
    cut = [max(n, 0) if layer.get("padding", "valid") == "same" else 0 for n in over]
    inputs = [layer.moved(x), layer.graph.constant(np.moveaxis(kernel, (-1, -2), (0, 1)), name="kernel")]
    if bias is not None:
        inputs.append(layer.graph.constant(bias, name="bias"))
    made = layer.graph.make(
        "ConvTranspose", *inputs, kernel_shape=window, strides=strides,
        pads=[n // 2 for n in cut] + [n - n // 2 for n in cut], output_padding=[max(-n, 0) for n in over],
    )  # fmt: skip
    return activated(layer, layer.spatial(x.rank, made))


LAYERS: dict[str, Callable[[Layer], Any]] = {
    "Conv1D": _plain,
    "Conv2D": _plain,
    "Conv3D": _plain,
    "DepthwiseConv1D": _depthwise,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv1D": _separable,
    "SeparableConv2D": _separable,
    "Conv1DTranspose": _transposed,
    "Conv2DTranspose": _transposed,
    "Conv3DTranspose": _transposed,
}
