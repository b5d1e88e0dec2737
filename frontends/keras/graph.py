"""The ONNX graph that is being written, and tensors that stand in Keras' layout, in ONNX's, or in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 21


class UnknownError(Exception):
    """Something that only Keras itself can read; says what."""


@dataclass
class Value:
    """A tensor of the Keras model.

    Attributes:
        rank: Number of dimensions, the batch included.
        last: The ONNX tensor with its dimensions as in Keras (channels last, as a rule).
        first: The same with the last dimension moved to place 1, as ONNX's convolutions want it.
    """

    rank: int
    last: str | None = None
    first: str | None = None
    dtype: int = TensorProto.FLOAT

    @property
    def is_first(self) -> bool:
        """Whether it stands channels first already; element-wise work then stays there."""
        return self.rank > 2 and self.first is not None

    def place(self, axis: int) -> int:
        """Where an axis of Keras' layout, counted from the front, is with the channels at place 1."""
        return 1 if axis == self.rank - 1 else axis + 1 if axis else 0


class Graph:
    """Collects nodes and weights. Names are those of the layers."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.taken: set[str] = set()
        self.scope = ""

    def name(self, wanted: str) -> str:
        """A name that nothing has yet."""
        found, count = wanted, 0
        while found in self.taken:
            count += 1
            found = f"{wanted}_{count}"
        self.taken.add(found)
        return found

    def make(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; gives its first output (the others follow in ``nodes[-1].output``)."""
        name = self.name(f"{self.scope}/{kind}")
        made = [name, *(self.name(f"{name}_{i}") for i in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=name, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float32, name: str = "constant") -> str:
        """Add a weight."""
        name = self.name(f"{self.scope}/{name}")
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def integers(self, *values: int) -> str:
        """Add a vector of int64."""
        return self.constant(values, np.int64)

    def last(self, value: Value) -> str:
        """The tensor as Keras has it."""
        if value.last is None:
            assert value.first is not None
            order = [0, *range(2, value.rank), 1]
            value.last = value.first if value.rank == 2 else self.make("Transpose", value.first, perm=order)
        return value.last

    def first(self, value: Value) -> str:
        """The tensor with its channels at place 1."""
        if value.first is None:
            assert value.last is not None
            order = [0, value.rank - 1, *range(1, value.rank - 1)]
            value.first = value.last if value.rank == 2 else self.make("Transpose", value.last, perm=order)
        return value.first

    def each(self, kind: str, *values: Value, **attributes: Any) -> Value:
        """An element-wise operator, in the layout in which its operands stand."""
        rank = max(v.rank for v in values)
        if any(v.is_first for v in values) and all(v.rank == rank for v in values):
            return Value(rank, first=self.make(kind, *map(self.first, values), **attributes))
        return Value(rank, last=self.make(kind, *map(self.last, values), **attributes))

    def scaled(self, kind: str, value: Value, constant: Any) -> Value:
        """An element-wise operator with a number, or with a vector of one number for each channel."""
        constant = np.asarray(constant, np.float32)
        if value.is_first:
            if constant.ndim:
                constant = constant.reshape(-1, *[1] * (value.rank - 2))
            return Value(value.rank, first=self.make(kind, self.first(value), self.constant(constant)))
        return Value(value.rank, last=self.make(kind, self.last(value), self.constant(constant)))

    def floats(self, value: Value) -> Value:
        """As float32: Keras' layers cast what comes as integers."""
        if value.dtype == TensorProto.FLOAT:
            return value
        return Value(value.rank, last=self.make("Cast", self.last(value), to=TensorProto.FLOAT))

    def rename(self, old: str, new: str) -> None:
        """Give a tensor, and the node that makes it, another name."""
        for node in self.nodes:
            if node.output[0] == old and node.name == old:
                node.name = new
            for field in (node.input, node.output):
                if old in field:
                    field[:] = [new if name == old else name for name in field]


def model(
    graph: Graph, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[tuple[str, Value]]
) -> onnx.ModelProto:
    """The graph as a model; sizes of the outputs are left to shape inference."""
    ends = [helper.make_tensor_value_info(n, v.dtype, [None] * v.rank) for n, v in outputs]
    made = helper.make_graph(graph.nodes, "keras", inputs, ends, graph.weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
