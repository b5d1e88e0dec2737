"""Layers and operations of several tensors: sums, products, concatenation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from edgecut.frontends.keras.graph import Value
from edgecut.frontends.keras.layers.base import Layer


def _together(kind: str) -> Callable[[Layer], Value]:
    def lowered(layer: Layer) -> Value:
        first, *others = [layer.graph.floats(v) for v in layer.values]
        layer.need(all(v.rank == first.rank for v in others), "of tensors of several ranks")
        made = first
        for other in others:
            made = layer.graph.each(kind, made, other)
        return made

    return lowered


def _average(layer: Layer) -> Value:
    return layer.graph.scaled("Mul", _together("Add")(layer), 1 / len(layer.values))


def _concatenate(layer: Layer) -> Value:
    values = [layer.graph.floats(v) for v in layer.values]
    axis = layer.axis(-1, values[0].rank)
    return joined(layer, values, axis)


def joined(layer: Layer, values: list[Value], axis: int) -> Value:
    """Side by side along an axis of Keras' layout."""
    graph, rank = layer.graph, values[0].rank
    if any(v.is_first for v in values):
        place = values[0].place(axis)
        return Value(rank, first=graph.make("Concat", *map(graph.first, values), axis=place))
    return Value(rank, last=graph.make("Concat", *map(graph.last, values), axis=axis))


def _binary(kind: str) -> Callable[[Layer], Value]:
    """An operation of two tensors, or of one and a number on either side."""

    def lowered(layer: Layer) -> Value:
        graph = layer.graph
        layer.need(len(layer.arguments) == 2, "of more than two")
        one, two = layer.arguments
        for item in (one, two):
            number = isinstance(item, int | float) and not isinstance(item, bool)
            layer.need(number or isinstance(item, Value), f"with {type(item).__name__}")
            layer.need(not isinstance(item, Value) or item.dtype == TensorProto.FLOAT, "of integers")
        if isinstance(one, Value) and isinstance(two, Value):
            return graph.each(kind, one, two)
        if isinstance(one, Value):
            return graph.scaled(kind, one, two)
        made = Value(two.rank)
        constant = graph.constant(np.float32(one))
        if two.is_first:
            made.first = graph.make(kind, constant, graph.first(two))
        else:
            made.last = graph.make(kind, constant, graph.last(two))
        return made

    return lowered


def _unary(kind: str) -> Callable[[Layer], Value]:
    def lowered(layer: Layer) -> Value:
        layer.need(len(layer.arguments) == 1, "with options")
        return layer.graph.each(kind, layer.x)

    return lowered


def _square(layer: Layer) -> Value:
    return layer.graph.each("Mul", layer.x, layer.x)


def _product(layer: Layer) -> Value:
    one, two = (layer.graph.floats(v) for v in layer.values)
    made = layer.graph.make("MatMul", layer.graph.last(one), layer.graph.last(two))
    return Value(max(one.rank, two.rank), last=made)


LAYERS: dict[str, Callable[[Layer], Any]] = {
    "Add": _together("Add"),
    "Subtract": _together("Sub"),
    "Multiply": _together("Mul"),
    "Maximum": _together("Max"),
    "Minimum": _together("Min"),
    "Average": _average,
    "Concatenate": _concatenate,
}
OPERATIONS: dict[str, Callable[[Layer], Any]] = {
    "Add": _binary("Add"), "Subtract": _binary("Sub"), "Multiply": _binary("Mul"),
    "Divide": _binary("Div"), "TrueDivide": _binary("Div"), "Maximum": _binary("Max"),
    "Minimum": _binary("Min"), "Power": _binary("Pow"), "Exp": _unary("Exp"), "Log": _unary("Log"),
    "Sqrt": _unary("Sqrt"), "Square": _square, "Absolute": _unary("Abs"), "Abs": _unary("Abs"),
    "Negative": _unary("Neg"), "Matmul": _product, "Concatenate": _concatenate,
}  # fmt: skip
