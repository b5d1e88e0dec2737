"""Layers that move, cut, pad or enlarge, and those that do nothing when a model is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from edgecut.frontends.keras.graph import Value
from edgecut.frontends.keras.layers.base import Layer, each


def _same(layer: Layer) -> Value:
    (value,) = layer.values
    return value


def _flatten(layer: Layer) -> Value:
    x = layer.x
    layer.need(not (layer.channels_first and x.rank > 2), "with data_format 'channels_first'")
    tensor = layer.graph.last(x)
    return Value(2, last=layer.graph.make("Reshape", tensor, layer.graph.integers(0, -1)))


def _reshape(layer: Layer) -> Value:
    shape = [int(n) for n in layer.get("target_shape")]
    made = layer.graph.make("Reshape", layer.graph.last(layer.x), layer.graph.integers(0, *shape))
    return Value(1 + len(shape), last=made)


def _reshaped(layer: Layer) -> Value:
    """``keras.ops.reshape``: the batch is written as -1."""
    shape = layer.get("newshape")
    inner = all(isinstance(n, int) and n > 0 for n in shape[1:])
    layer.need(shape[0] in (-1, None) and inner, f"to {shape}")
    made = layer.graph.make("Reshape", layer.graph.last(layer.x), layer.graph.integers(-1, *shape[1:]))
    return Value(len(shape), last=made)


def _permuted(layer: Layer, order: Sequence[int]) -> Value:
    x = layer.x
    return Value(x.rank, last=layer.graph.make("Transpose", layer.graph.last(x), perm=list(order)))


def _permute(layer: Layer) -> Value:
    return _permuted(layer, [0, *layer.get("dims")])


def _transpose(layer: Layer) -> Value:
    axes = layer.get("axes")
    layer.need(bool(axes) and axes[0] == 0, f"with axes {axes}")
    return _permuted(layer, axes)


def _repeat(layer: Layer) -> Value:
    graph = layer.graph
    row = graph.make("Unsqueeze", graph.last(layer.x), graph.integers(1))
    return Value(3, last=graph.make("Tile", row, graph.integers(1, int(layer.get("n")), 1)))


def _sides(value: Any, rank: int) -> list[tuple[int, int]]:
    """Amounts before and after, for each spatial dimension."""
    if isinstance(value, int):
        return [(value, value)] * rank
    if rank == 1:
        value = [value] if not isinstance(value[0], list | tuple) else value
    return [(int(v), int(v)) if isinstance(v, int) else (int(v[0]), int(v[1])) for v in value]


def _placed(layer: Layer, x: Value) -> tuple[str, int, Callable[[str], Value]]:
    """The tensor to work on, its first spatial axis, and what makes the result a value."""
    if layer.channels_first:
        return layer.graph.last(x), 2, lambda made: Value(x.rank, last=made)
    if x.is_first:
        return layer.graph.first(x), 2, lambda made: Value(x.rank, first=made)
    return layer.graph.last(x), 1, lambda made: Value(x.rank, last=made)


def _padding(layer: Layer) -> Value:
    x = layer.x
    rank = x.rank - 2
    tensor, start, value = _placed(layer, x)
    sides = [(0, 0)] * start + _sides(layer.get("padding"), rank) + [(0, 0)] * (2 - start)
    pads = [before for before, _ in sides] + [after for _, after in sides]
    return value(layer.graph.make("Pad", tensor, layer.graph.integers(*pads)))


def _cropping(layer: Layer) -> Value:
    x, graph = layer.x, layer.graph
    tensor, start, value = _placed(layer, x)
    sides = _sides(layer.get("cropping"), x.rank - 2)
    ends = [-after if after else np.iinfo(np.int64).max for _, after in sides]
    axes = list(range(start, start + len(sides)))
    made = graph.make(
        "Slice", tensor, graph.integers(*(b for b, _ in sides)), graph.integers(*ends), graph.integers(*axes)
    )
    return value(made)


_RESIZE: dict[str, dict[str, Any]] = {
    "nearest": {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
    "bilinear": {"mode": "linear"},
}


def _enlarged(layer: Layer) -> Value:
    x, graph = layer.x, layer.graph
    kind = layer.get("interpolation", "nearest")
    layer.need(kind in _RESIZE, f"with interpolation {kind!r}")
    scales = [float(n) for n in each(layer.get("size", 2), x.rank - 2)]
    tensor, start, value = _placed(layer, x)
    scales = [1.0] * start + scales + [1.0] * (2 - start)
    attributes = {"coordinate_transformation_mode": "half_pixel", **_RESIZE[kind]}
    return value(graph.make("Resize", tensor, "", graph.constant(scales), **attributes))


def _resized(layer: Layer) -> Value:
    x, graph = layer.x, layer.graph
    kind = layer.get("interpolation", "bilinear")
    layer.need(kind in _RESIZE, f"with interpolation {kind!r}")
    layer.plain(crop_to_aspect_ratio=False, pad_to_aspect_ratio=False, antialias=False)
    tensor, start, value = _placed(layer, x)
    sizes = graph.integers(int(layer.get("height")), int(layer.get("width")))
    attributes = {"coordinate_transformation_mode": "half_pixel", **_RESIZE[kind]}
    return value(graph.make("Resize", tensor, "", "", sizes, axes=[start, start + 1], **attributes))


def _mean(layer: Layer) -> Value:
    """``keras.ops.mean`` over axes other than that of the batch."""
    x, graph = layer.x, layer.graph
    axes = layer.get("axis")
    axes = sorted(a % x.rank for a in (axes if isinstance(axes, list | tuple) else [axes or 0]))
    layer.need(0 not in axes, "over the batch")
    keep = bool(layer.get("keepdims", False))
    made = graph.make("ReduceMean", graph.last(x), graph.integers(*axes), keepdims=int(keep))
    return Value(x.rank if keep else x.rank - len(axes), last=made)


def _embedding(layer: Layer) -> Value:
    layer.plain(mask_zero=False)
    (table,) = layer.arrays(1)
    (value,) = layer.values
    graph = layer.graph
    indices = graph.last(value)
    if value.dtype not in (TensorProto.INT32, TensorProto.INT64):
        indices = graph.make("Cast", indices, to=TensorProto.INT32)
    made = graph.make("Gather", graph.constant(table, name="embeddings"), indices)
    return Value(value.rank + 1, last=made)


IDLE = (
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout", "AlphaDropout",
    "GaussianNoise", "ActivityRegularization", "Identity", "RandomFlip", "RandomRotation", "RandomZoom",
    "RandomTranslation", "RandomContrast", "RandomBrightness",
)  # fmt: skip
LAYERS: dict[str, Callable[[Layer], Any]] = {
    **dict.fromkeys(IDLE, _same),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "RepeatVector": _repeat,
    **{f"ZeroPadding{n}D": _padding for n in (1, 2, 3)},
    **{f"Cropping{n}D": _cropping for n in (1, 2, 3)},
    **{f"UpSampling{n}D": _enlarged for n in (1, 2, 3)},
    "Resizing": _resized,
    "Embedding": _embedding,
}
OPERATIONS: dict[str, Callable[[Layer], Any]] = {
    "Reshape": _reshaped,
    "Transpose": _transpose,
    "Mean": _mean,
}
