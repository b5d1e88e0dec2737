"""ONNX program -> the back end's graph, one node at a time through the table in `ops`.

A node that cannot be lowered gets a reason instead. Its outputs become inputs of the graph and what it
reads becomes an output, so that everything around it is still lowered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as oir

from edgecut.ir import extract
from edgecut.ir.program import Program, static_shape
from edgecut.targets.tflite import functions, lir
from edgecut.targets.tflite.lir import Array, Graph, Quant, Tensor
from edgecut.targets.tflite.ops.base import Call, Lowered, Unsupported, dtype_reason, is_stored

# What TFLite cannot say, whatever the attributes.
_WITHOUT = dict.fromkeys(
    ("NonMaxSuppression", "NonZero", "Unique", "Compress"), "the size of its result depends on the data"
)


@dataclass
class Imported:
    """A program as a graph of TFLite operators, in the order of dimensions that ONNX uses."""

    graph: Graph
    reasons: dict[str, str] = field(default_factory=dict)
    """Names of the nodes that cannot be lowered, and why."""


def run(program: Program) -> Imported:
    """Lower every node that can be."""
    return _Importer(program).run()


class _Importer:
    def __init__(self, program: Program, sources: frozenset[str] | None = None) -> None:
        self.program = program
        self.sources = sources
        self.tensors: dict[oir.Value, Tensor] = {}
        self.graph = Graph()
        self.reasons: dict[str, str] = {}
        self.free = extract.duplicable_nodes(program)
        self.opsets = dict(program.model.opset_imports)

    def run(self) -> Imported:
        for value in self.program.graph.inputs:
            if value.is_initializer():
                continue
            self.open(value)
        for node in self.program.nodes:
            reason = self.lower(node)
            if reason is not None:
                self.refuse(node, reason)
        made = [v for n in self.program.nodes for v in n.outputs]
        inputs = [v for v in self.program.graph.inputs if v in self.tensors]
        self.graph.values |= {v.name or "": self.tensors[v] for v in (*inputs, *made) if v in self.tensors}
        self.need(self.program.graph.outputs)
        self.graph.contract = {v.name or "" for v in self.program.graph.outputs}
        return Imported(self.graph, self.reasons)

    def lower(self, node: oir.Node) -> str | None:
        from edgecut.targets.tflite.ops import table

        kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        lowering = table().get(kind)
        try:
            inputs = [self.tensor(v) for v in node.inputs]
            call = Call(node, inputs, self.opsets.get(node.domain, 1), self.sources)
            made: Lowered | None = None
            if self.foldable(node):
                made = _halves(call) or _fold(call, self.opsets)
            if made is None:
                made = lowering(call) if lowering is not None else self.defined(call, kind)
        except Unsupported as refusal:
            return str(refusal)
        results = [made] if isinstance(made, Tensor) else list(made or ())
        for value, tensor in zip(node.outputs, results, strict=False):
            if tensor is not None and value.is_graph_output() and not is_stored(tensor.dtype):
                return f"type {tensor.dtype.name} has no counterpart"
            if tensor is not None:
                self.tensors[value] = tensor
        missing = [v for v in node.outputs[len(results) :] if v.uses() or v.is_graph_output()]
        return f"output {missing[0].name} has no counterpart" if missing else None

    def defined(self, call: Call, kind: str) -> list[Tensor | None]:
        """Lower what ONNX defines an operator by, if it does."""
        body = functions.definition(call, self.opsets)
        if body is None:
            raise Unsupported(_WITHOUT.get(kind, f"no lowering for {kind}"))
        inner = _Importer(body, call.sources)
        given = {v.name: t for v, t in zip(call.node.inputs, call.inputs, strict=True) if v is not None and t}
        inner.tensors |= {v: given[v.name] for v in body.graph.inputs if v.name in given}
        for node in body.nodes:
            reason = inner.lower(node)
            if reason is not None:
                raise Unsupported(f"{node.op_type} in its definition: {reason}")
        made = {v.name: inner.tensors.get(v) for v in body.graph.outputs}
        return [made.get(v.name) for v in call.node.outputs]

    def foldable(self, node: oir.Node) -> bool:
        """Whether a node reads only constants that are not quantized weights, and so is one itself."""
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") or _is_random(node):
            return False
        tensors = [self.tensors.get(v) or _initializer(v) for v in node.inputs if v is not None]
        return all(t is not None and t.is_constant and t.quant is None for t in tensors)

    def tensor(self, value: oir.Value | None) -> Tensor | None:
        if value is None or value.name == "":
            return None
        found = self.tensors.get(value)
        if found is None:
            found = _initializer(value)
            producer = value.producer()
            if found is None and producer is not None and producer.name in self.reasons:
                raise Unsupported(f"reads {producer.name}: {self.reasons[producer.name]}")
            if found is None:
                lacks = dtype_reason(value.dtype) if value.dtype is not None else None
                raise Unsupported(f"{value.name} has no static shape" if lacks is None else lacks)
            self.tensors[value] = found
        return found

    def open(self, value: oir.Value) -> None:
        """Let a value be an input of the lowered graph, if its shape and type allow."""
        shape = static_shape(value)
        if shape is None or value.dtype is None or dtype_reason(value.dtype) is not None:
            return
        tensor = Tensor(shape, value.dtype.numpy())
        self.tensors[value] = tensor
        self.graph.inputs[value.name or ""] = tensor

    def refuse(self, node: oir.Node, reason: str) -> None:
        self.reasons[node.name or ""] = reason
        read = [v for v in node.inputs if v in self.tensors]
        self.need(v for v in read if not self.tensors[v].is_constant)
        for value in node.outputs:
            # What is copied to where it is read is in no group that could carry the reason: its readers do.
            if node not in self.free:
                self.open(value)

    def need(self, values: Any) -> None:
        known = set(self.graph.outputs)
        for value in values:
            tensor = self.tensors.get(value)
            if tensor is None or value.name in known:
                continue
            self.graph.outputs.append(value.name)
            known.add(value.name)
            self.graph.values.setdefault(value.name, tensor)


def _initializer(value: oir.Value) -> Tensor | None:
    if value.const_value is None:
        return None
    array = value.const_value.numpy()
    return lir.constant(array)


def _is_random(node: oir.Node) -> bool:
    return node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial", "Dropout")


def _halves(call: Call) -> list[Tensor | None] | None:
    """Weights that are stored as float16 and read as float32 stay as they are stored."""
    if call.kind != "Cast" or call.attribute("to") != oir.DataType.FLOAT or call.input(0).dtype != np.float16:
        return None
    users = call.node.outputs[0].uses()
    if not all(u.node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and u.idx == 1 for u in users):
        return None
    quant = Quant(np.ones(1, np.float32), np.zeros(1, np.int64))
    data = call.input(0).data
    return None if data is None else [lir.constant(data, quant)]


def _fold(call: Call, opsets: dict[str, int]) -> list[Tensor | None] | None:
    """Compute a node whose inputs are all known with ONNX's reference evaluator; None where it cannot."""
    if any(
        a.type in (oir.AttributeType.GRAPH, oir.AttributeType.GRAPHS) for a in call.node.attributes.values()
    ):
        return None
    inputs = {f"i{k}": lir.real(t) for k, t in enumerate(call.inputs) if t is not None}
    names = [f"i{k}" if t is not None else "" for k, t in enumerate(call.inputs)]
    outputs = _evaluate(call.node, names, inputs, opsets)
    return None if outputs is None else [lir.constant(np.asarray(o)) for o in outputs]


def _evaluate(
    node: oir.Node, names: Sequence[str], inputs: dict[str, Array], opsets: dict[str, int]
) -> list[Array] | None:
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    proto = oir.to_proto(node)
    del proto.input[:]
    proto.input.extend(names)
    infos = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for k, v in inputs.items()
    ]
    results = [helper.make_empty_tensor_value_info(o) for o in proto.output if o]
    graph = helper.make_graph([proto], "fold", infos, results)
    imports = [helper.make_opsetid(d, v) for d, v in opsets.items()]
    try:
        model = helper.make_model(graph, opset_imports=imports)
        return [np.asarray(o) for o in ReferenceEvaluator(model).run(None, dict(inputs))]
    except Exception:  # the evaluator raises kinds of its own for what it does not implement
        return None
