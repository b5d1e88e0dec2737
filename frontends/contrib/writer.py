"""Writes the standard nodes that stand for one node of ONNX Runtime's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper


class Writer:
    """Writes the standard nodes that stand for one node."""

    def __init__(self, graph: onnx.GraphProto, node: NodeProto, opset: int) -> None:
        self.graph, self.node, self.opset = graph, node, opset
        self.base = node.name or node.output[0]
        self.nodes: list[NodeProto] = []
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def input(self, index: int) -> str:
        """Name of an input, empty where it is left out."""
        return str(self.node.input[index]) if index < len(self.node.input) else ""

    def output(self, index: int) -> str:
        """Name of an output, empty where it is left out."""
        return str(self.node.output[index]) if index < len(self.node.output) else ""

    def get(self, name: str, default: Any) -> Any:
        """An attribute; text as text."""
        found = self.attributes.get(name, default)
        return found.decode() if isinstance(found, bytes) else found

    def make(self, kind: str, *inputs: str, out: str | Sequence[str] = "", **attributes: Any) -> str:
        """A standard node; gives its first output. ``out`` names the outputs."""
        name = f"{self.base}/{kind}_{len(self.nodes)}"
        outputs = [out or name] if isinstance(out, str) else list(out)
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=name, **attributes))
        return outputs[0]

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """An initializer."""
        name = f"{self.base}/c{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def known(self, name: str) -> Any:
        """The numbers of an initializer; None where it is none."""
        found = next((t for t in self.graph.initializer if t.name == name), None)
        return None if found is None else numpy_helper.to_array(found)

    def channels_first(self, x: str, dims: int) -> str:
        """[N, ..., C] -> [N, C, ...]."""
        return self.make("Transpose", x, perm=[0, dims - 1, *range(1, dims - 1)])

    def channels_last(self, x: str, dims: int, out: str) -> str:
        """[N, C, ...] -> [N, ..., C]."""
        return self.make("Transpose", x, out=out, perm=[0, *range(2, dims), 1])

    def integers(self, *values: int) -> str:
        """An int64 vector."""
        return self.constant(values, np.int64)

    def mean(self, x: str) -> str:
        """Over the last dimension, which stays."""
        if self.opset >= 18:
            return self.make("ReduceMean", x, self.integers(-1), keepdims=1)
        return self.make("ReduceMean", x, axes=[-1], keepdims=1)

    def normalized(self, x: str, epsilon: float) -> str:
        """Divided by the root of the mean square."""
        square = self.make("Add", self.mean(self.make("Mul", x, x)), self.constant(epsilon))
        return self.make("Div", x, self.make("Sqrt", square))

    def layer_norm(self, x: str, scale: str, bias: str, epsilon: float, out: str) -> None:
        """Over the last dimension."""
        if self.opset >= 17:
            inputs = [x, scale, bias] if bias else [x, scale]
            self.make("LayerNormalization", *inputs, out=out, axis=-1, epsilon=epsilon)
            return
        normal = self.normalized(self.make("Sub", x, self.mean(x)), epsilon)
        scaled = self.make("Mul", normal, scale, out="" if bias else out)
        if bias:
            self.make("Add", scaled, bias, out=out)

    def heads(self, x: str, count: int) -> str:
        """[batch, steps, heads * size] -> [batch, heads, steps, size]."""
        split = self.make("Reshape", x, self.integers(0, 0, count, -1))
        return self.make("Transpose", split, perm=[0, 2, 1, 3])

    def attend(self, q: str, k: str, v: str, count: int, bias: str, scale: float | None) -> None:
        """Softmax(q k' * scale + bias) v, all of [batch, steps, hidden]."""
        q, k, v = (self.heads(t, count) for t in (q, k, v))
        scores = self.make("MatMul", q, self.make("Transpose", k, perm=[0, 1, 3, 2]))
        if scale:
            scores = self.make("Mul", scores, self.constant(scale))
        else:
            size = self.make("Cast", self.make("Shape", q, start=3, end=4), to=1) if self.opset >= 15 else ""
            scores = self.make("Div", scores, self.make("Sqrt", size))
        if bias:
            scores = self.make("Add", scores, bias)
        mixed = self.make("MatMul", self.make("Softmax", scores, axis=-1), v)
        joined = self.make("Transpose", mixed, perm=[0, 2, 1, 3])
        self.make("Reshape", joined, self.integers(0, 0, -1), out=self.output(0))

    def hidden(self, mask: str) -> str:
        """[batch, steps] of ones and zeros -> what is added to the scores."""
        gone = self.make("Sub", self.constant(1.0), self.make("Cast", mask, to=1))
        low = self.constant(float(self.get("mask_filter_value", -10000.0)))
        return self.make("Unsqueeze", self.make("Mul", gone, low), self.integers(1, 2))


Expansion = Callable[[Writer], bool]
"""Writes the nodes; False where the node has a form that is not known here."""


def used(graph: onnx.GraphProto, name: str) -> bool:
    """Whether any node or output reads a tensor."""
    return any(name in node.input for node in graph.node) or any(v.name == name for v in graph.output)


def rank(graph: onnx.GraphProto, name: str) -> int | None:
    """Number of dimensions of a weight, an input, or a tensor whose shape is noted."""
    weights = next((t for t in graph.initializer if t.name == name), None)
    if weights is not None:
        return len(weights.dims)
    for value in (*graph.input, *graph.value_info):
        if value.name == name and value.type.tensor_type.HasField("shape"):
            return len(value.type.tensor_type.shape.dim)
    return None
