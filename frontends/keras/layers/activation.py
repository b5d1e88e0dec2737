"""Activations: layers, and the functions that other layers name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgecut.frontends.keras.graph import Graph, Value
from edgecut.frontends.keras.layers.base import Layer


def clipped(graph: Graph, x: Value, low: float | None, high: float | None) -> Value:
    """Limits on both sides, or on one."""
    limits = [graph.constant(np.float32(v)) if v is not None else "" for v in (low, high)]
    tensor = graph.first(x) if x.is_first else graph.last(x)
    made = graph.make("Clip", tensor, *(limits if limits[1] else limits[:1]))
    return Value(x.rank, first=made) if x.is_first else Value(x.rank, last=made)


def softmax(graph: Graph, x: Value, axis: int = -1, kind: str = "Softmax") -> Value:
    """Along an axis of Keras' layout."""
    axis %= x.rank
    if not x.is_first:
        return Value(x.rank, last=graph.make(kind, graph.last(x), axis=axis))
    return Value(x.rank, first=graph.make(kind, graph.first(x), axis=x.place(axis)))


def leaky(graph: Graph, x: Value, slope: float) -> Value:
    """A slope below zero, which may be 0."""
    return graph.each("LeakyRelu", x, alpha=float(slope)) if slope else graph.each("Relu", x)


def _hard_sigmoid(graph: Graph, x: Value) -> Value:
    """``relu6(x + 3) / 6``, as of Keras 3."""
    return graph.each("HardSigmoid", x, alpha=1 / 6, beta=0.5)


def _silu(graph: Graph, x: Value) -> Value:
    return graph.each("Mul", x, graph.each("Sigmoid", x))


FUNCTIONS: dict[str, Callable[[Graph, Value], Value]] = {
    "linear": lambda graph, x: x,
    "relu": lambda graph, x: graph.each("Relu", x),
    "relu6": lambda graph, x: clipped(graph, x, 0, 6),
    "leaky_relu": lambda graph, x: leaky(graph, x, 0.2),
    "sigmoid": lambda graph, x: graph.each("Sigmoid", x),
    "tanh": lambda graph, x: graph.each("Tanh", x),
    "softmax": softmax,
    "log_softmax": lambda graph, x: softmax(graph, x, kind="LogSoftmax"),
    "elu": lambda graph, x: graph.each("Elu", x, alpha=1.0),
    "selu": lambda graph, x: graph.each("Selu", x),
    "softplus": lambda graph, x: graph.each("Softplus", x),
    "softsign": lambda graph, x: graph.each("Softsign", x),
    "silu": _silu,
    "swish": _silu,
    "gelu": lambda graph, x: graph.each("Gelu", x),
    "mish": lambda graph, x: graph.each("Mish", x),
    "exponential": lambda graph, x: graph.each("Exp", x),
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda graph, x: graph.each("HardSwish", x),
    "hard_swish": lambda graph, x: graph.each("HardSwish", x),
}


def activated(layer: Layer, x: Value, key: str = "activation") -> Value:
    """The activation that a layer names, behind it."""
    name = layer.get(key) or "linear"
    if isinstance(name, dict):  # as Keras 3 writes functions that it finds by name
        name = name.get("config")
    name = str(name)
    layer.need(name in FUNCTIONS, f"with activation {name!r}")
    layer.need(name != "hard_sigmoid" or layer.major >= 3, "with the hard_sigmoid of Keras 2")
    return FUNCTIONS[name](layer.graph, x)


def _activation(layer: Layer) -> Value:
    return activated(layer, layer.x)


def _relu(layer: Layer) -> Value:
    limit, slope = layer.get("max_value"), float(layer.get("negative_slope") or 0)
    layer.plain(threshold=0.0)
    if slope == 0 and limit is not None:
        return clipped(layer.graph, layer.x, 0, float(limit))
    made = leaky(layer.graph, layer.x, slope)
    return made if limit is None else clipped(layer.graph, made, None, float(limit))


def _leaky(layer: Layer) -> Value:
    return leaky(layer.graph, layer.x, layer.get("negative_slope", layer.get("alpha", 0.3)))


def _prelu(layer: Layer) -> Value:
    """One slope for each element, save along the shared axes, where the weight has size one."""
    (slopes,) = layer.arrays(1)
    x, graph = layer.x, layer.graph
    if x.is_first:
        slopes = np.moveaxis(slopes, -1, 0)
        return Value(x.rank, first=graph.make("PRelu", graph.first(x), graph.constant(slopes)))
    return Value(x.rank, last=graph.make("PRelu", graph.last(x), graph.constant(slopes)))


def _softmax(layer: Layer) -> Value:
    x = layer.x
    return softmax(layer.graph, x, layer.axis(-1, x.rank))


def _function(name: str) -> Callable[[Layer], Value]:
    """An activation as an operation of its own (``keras.ops.relu``), with no options but the usual ones."""

    def lowered(layer: Layer) -> Value:
        layer.need(len(layer.arguments) == 1, "with options")
        if name in ("softmax", "log_softmax"):
            kind = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}[name]
            return softmax(layer.graph, layer.x, layer.axis(-1, layer.x.rank), kind)
        if name == "gelu":
            approximate = "tanh" if layer.get("approximate", True) else "none"
            return layer.graph.each("Gelu", layer.x, approximate=approximate)
        if name == "leaky_relu":
            return leaky(layer.graph, layer.x, layer.get("negative_slope", 0.2))
        layer.plain(alpha=1.0)
        return FUNCTIONS[name](layer.graph, layer.x)

    return lowered


LAYERS: dict[str, Callable[[Layer], Any]] = {
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky,
    "PReLU": _prelu,
    "ELU": lambda layer: layer.graph.each("Elu", layer.x, alpha=float(layer.get("alpha", 1.0))),
    "Softmax": _softmax,
}
OPERATIONS: dict[str, Callable[[Layer], Any]] = {
    "Relu": _function("relu"), "Relu6": _function("relu6"), "Sigmoid": _function("sigmoid"),
    "Tanh": _function("tanh"), "Softmax": _function("softmax"), "LogSoftmax": _function("log_softmax"),
    "Silu": _function("silu"), "Gelu": _function("gelu"), "LeakyRelu": _function("leaky_relu"),
    "HardSigmoid": _function("hard_sigmoid"), "HardSilu": _function("hard_silu"), "Elu": _function("elu"),
    "Selu": _function("selu"), "Softplus": _function("softplus"), "Softsign": _function("softsign"),
}  # fmt: skip
