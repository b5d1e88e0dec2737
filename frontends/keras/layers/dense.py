"""Dense layers, over any number of dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgecut.frontends.keras.graph import Value
from edgecut.frontends.keras.layers import activation, normalization, shape
from edgecut.frontends.keras.layers.activation import activated
from edgecut.frontends.keras.layers.base import Array, Layer


def dense(layer: Layer, x: Value, kernel: Array, bias: Array | None) -> Value:
    """``x @ kernel + bias`` over the last dimension; ``kernel`` [in, out]."""
    graph = layer.graph
    inputs = [graph.last(x), graph.constant(kernel, name="kernel")]
    if x.rank == 2:
        if bias is not None:
            inputs.append(graph.constant(bias, name="bias"))
        return Value(2, last=graph.make("Gemm", *inputs))
    made = graph.make("MatMul", *inputs)
    if bias is not None:
        made = graph.make("Add", made, graph.constant(bias, name="bias"))
    return Value(x.rank, last=made)


def _dense(layer: Layer) -> Value:
    has_bias = bool(layer.get("use_bias", True))
    found = layer.arrays(1 + has_bias)
    return activated(layer, dense(layer, layer.x, found[0], found[1] if has_bias else None))


def _einsum(layer: Layer) -> Value:
    """Where the equation sums over the input's last dimensions: a dense layer with reshapes around it."""
    equation = str(layer.get("equation")).replace("...", "").replace(" ", "")
    x, graph = layer.x, layer.graph
    given, made = equation.split("->")
    left, right = given.split(",")
    summed = [c for c in left if c in right]
    kept = left[: len(left) - len(summed)]
    out = right[len(summed) :]
    fits = left == kept + "".join(summed) and right == "".join(summed) + out and made == kept + out
    layer.need(fits and bool(summed), f"with equation {layer.get('equation')!r}")
    has_bias = layer.get("bias_axes") is not None
    found = layer.arrays(1 + has_bias)
    kernel, sizes = found[0], found[0].shape[len(summed) :]
    rank = x.rank - len(summed) + 1
    layer.need(len(left) == x.rank or "..." in str(layer.get("equation")), "of another rank")
    if len(summed) > 1:
        x = Value(rank, last=graph.make("Reshape", graph.last(x), graph.integers(*[0] * (rank - 1), -1)))
    flat = dense(layer, x, kernel.reshape(int(np.prod(kernel.shape[: len(summed)])), -1), None)
    if len(out) != 1:
        shape = graph.integers(*[0] * (rank - 1), *sizes)
        flat = Value(rank - 1 + len(out), last=graph.make("Reshape", graph.last(flat), shape))
    if has_bias:
        flat = Value(flat.rank, last=graph.make("Add", graph.last(flat), graph.constant(found[1])))
    return activated(layer, flat)


_STEPWISE: dict[str, Callable[[Layer], Any]] = {
    "Dense": _dense,
    **{kind: normalization.LAYERS[kind] for kind in ("BatchNormalization", "LayerNormalization")},
    **{kind: activation.LAYERS[kind] for kind in ("Activation", "ReLU", "LeakyReLU", "ELU")},
    **dict.fromkeys(shape.IDLE, shape.LAYERS["Dropout"]),
}
"""Layers of the last dimension alone: for each step they are what they are for all."""


def _distributed(layer: Layer) -> Value:
    inner = layer.get("layer")
    layer.need(inner["class_name"] in _STEPWISE, f"of a {inner['class_name']}")
    config = inner["config"]
    call = Layer(
        layer.graph,
        inner["class_name"],
        layer.name,
        config,
        layer.weights.part("layer"),
        layer.arguments,
        {},
        layer.major,
    )
    made: Value = _STEPWISE[inner["class_name"]](call)
    return made


LAYERS: dict[str, Callable[[Layer], Any]] = {
    "Dense": _dense,
    "EinsumDense": _einsum,
    "TimeDistributed": _distributed,
}
