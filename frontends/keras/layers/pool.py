"""Pooling over windows, and over whole images and sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgecut.frontends.keras.graph import Value
from edgecut.frontends.keras.layers.base import Layer, each
from edgecut.frontends.keras.layers.convolution import padding


def _window(kind: str) -> Callable[[Layer], Value]:
    def lowered(layer: Layer) -> Value:
        x = layer.x
        rank = x.rank - 2
        window = each(layer.get("pool_size", 2), rank)
        strides = each(layer.get("strides") or window, rank)
        layer.need(layer.get("padding", "valid") != "causal", "with padding 'causal'")
        made = layer.graph.make(
            kind,
            layer.moved(x),
            kernel_shape=window,
            strides=strides,
            **padding(layer, window, strides, [1] * rank),
        )
        return layer.spatial(x.rank, made)

    return lowered


def _whole(kind: str) -> Callable[[Layer], Value]:
    def lowered(layer: Layer) -> Value:
        x, graph, keep = layer.x, layer.graph, bool(layer.get("keepdims", False))
        if layer.channels_first or x.is_first:
            tensor = graph.last(x) if layer.channels_first else graph.first(x)
            axes = list(range(2, x.rank))
        else:
            tensor, axes = graph.last(x), list(range(1, x.rank - 1))
        made = graph.make(kind, tensor, graph.integers(*axes), keepdims=int(keep))
        if not keep:
            return Value(2, last=made)
        if layer.channels_first or not x.is_first:
            return Value(x.rank, last=made)
        return Value(x.rank, first=made)

    return lowered


LAYERS: dict[str, Callable[[Layer], Any]] = {
    **{f"MaxPooling{n}D": _window("MaxPool") for n in (1, 2, 3)},
    **{f"AveragePooling{n}D": _window("AveragePool") for n in (1, 2, 3)},
    **{f"GlobalAveragePooling{n}D": _whole("ReduceMean") for n in (1, 2, 3)},
    **{f"GlobalMaxPooling{n}D": _whole("ReduceMax") for n in (1, 2, 3)},
}
