"""Normalizations, and the scaling of inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgecut.frontends.keras.graph import Value
from edgecut.frontends.keras.layers.base import Array, Layer

_TINY = 1e-7
"""``keras.config.epsilon()``, below which a deviation does not divide."""


def _affine(layer: Layer) -> tuple[Array, Array | None]:
    """Scale and offset of each channel; ones for a scale that the layer has not, None for an offset."""
    scaled, centred = bool(layer.get("scale", True)), bool(layer.get("center", True))
    found = layer.arrays(scaled + centred)
    layer.need(bool(found), "without weights")
    return found[0] if scaled else np.ones_like(found[0]), found[-1] if centred else None


def _batch(layer: Layer) -> Value:
    x, graph = layer.x, layer.graph
    axis = layer.axis(-1, x.rank)
    scaled, centred = bool(layer.get("scale", True)), bool(layer.get("center", True))
    found = layer.arrays(2 + scaled + centred)
    mean, variance = found[-2:]
    gamma = found[0] if scaled else np.ones_like(mean)
    beta = found[int(scaled)] if centred else np.zeros_like(mean)
    epsilon = float(layer.get("epsilon", 1e-3))
    numbers = (gamma, beta, mean, variance)
    if axis == 1 or x.is_first:
        layer.need(axis in (1, x.rank - 1), f"over axis {axis}")
        tensor = graph.last(x) if axis == 1 else graph.first(x)
        constants = [graph.constant(n) for n in numbers]
        made = graph.make("BatchNormalization", tensor, *constants, epsilon=epsilon)
        return Value(x.rank, last=made) if axis == 1 else Value(x.rank, first=made)
    layer.need(axis == x.rank - 1, f"over axis {axis}")
    factor = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    return graph.scaled("Add", graph.scaled("Mul", x, factor), beta - mean * factor)


def _layer(layer: Layer) -> Value:
    x, graph = layer.x, layer.graph
    layer.need(layer.axis(-1, x.rank) == x.rank - 1, f"over axis {layer.get('axis')}")
    layer.plain(rms_scaling=False)
    gamma, beta = _affine(layer)
    inputs = [graph.constant(gamma, name="gamma")]
    if beta is not None:
        inputs.append(graph.constant(beta, name="beta"))
    made = graph.make(
        "LayerNormalization", graph.last(x), *inputs, axis=-1, epsilon=float(layer.get("epsilon", 1e-3))
    )
    return Value(x.rank, last=made)


def _root_mean_square(layer: Layer) -> Value:
    x, graph = layer.x, layer.graph
    layer.need(layer.axis(-1, x.rank) == x.rank - 1, f"over axis {layer.get('axis')}")
    (gamma,) = layer.arrays(1)
    tensor = graph.last(x)
    square = graph.make("ReduceMean", graph.make("Mul", tensor, tensor), graph.integers(-1), keepdims=1)
    root = graph.make("Sqrt", graph.make("Add", square, graph.constant(float(layer.get("epsilon", 1e-6)))))
    made = graph.make("Mul", graph.make("Div", tensor, root), graph.constant(gamma, name="gamma"))
    return Value(x.rank, last=made)


def _group(layer: Layer) -> Value:
    x, graph = layer.x, layer.graph
    axis = layer.axis(-1, x.rank)
    layer.need(axis in (1, x.rank - 1) and x.rank > 2, f"over axis {axis}")
    gamma, beta = _affine(layer)
    is_last = axis == x.rank - 1
    count = int(layer.get("groups", 32))
    beta = np.zeros_like(gamma) if beta is None else beta
    made = graph.make(
        "GroupNormalization", graph.first(x) if is_last else graph.last(x), graph.constant(gamma),
        graph.constant(beta), num_groups=len(gamma) if count == -1 else count,
        epsilon=float(layer.get("epsilon", 1e-3)),
    )  # fmt: skip
    return Value(x.rank, first=made) if is_last else Value(x.rank, last=made)


def _layer_scale(layer: Layer) -> Value:
    """ConvNeXt's, from ``keras.applications``."""
    (gamma,) = layer.arrays(1)
    return layer.graph.scaled("Mul", layer.x, gamma)


def _rescaling(layer: Layer) -> Value:
    scale, offset = (np.asarray(layer.get(key, d), np.float32) for key, d in (("scale", 1), ("offset", 0)))
    layer.need(scale.ndim < 2 and offset.ndim < 2, "with tensors as numbers")
    made = layer.graph.scaled("Mul", layer.x, scale)
    return layer.graph.scaled("Add", made, offset) if offset.any() else made


def _normalization(layer: Layer) -> Value:
    """``(x - mean) / deviation``, with figures that were given or learnt from data."""
    layer.plain(invert=False)
    x = layer.x
    mean, variance = layer.get("mean"), layer.get("variance")
    if mean is None:
        mean, variance = layer.weights.arrays()[:2] or (None, None)
    layer.need(mean is not None, "that never saw data")
    mean, variance = (np.squeeze(np.asarray(v, np.float32)) for v in (mean, variance))
    if mean.ndim:
        layer.need(mean.ndim == 1 and layer.axis(-1, x.rank) == x.rank - 1, f"over axes {layer.get('axis')}")
    deviation = np.maximum(np.sqrt(variance), np.float32(_TINY))
    return layer.graph.scaled("Div", layer.graph.scaled("Sub", x, mean), deviation)


LAYERS: dict[str, Callable[[Layer], Any]] = {
    "BatchNormalization": _batch,
    "LayerNormalization": _layer,
    "RMSNormalization": _root_mean_square,
    "GroupNormalization": _group,
    "LayerScale": _layer_scale,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
}
