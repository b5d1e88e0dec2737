"""Operators of ONNX Runtime's own (com.microsoft) that its optimizer makes, written in standard ONNX.

An optimized model can thereby be compiled like the one that it was made from. Each is what the operator's
documentation in ONNX Runtime (docs/ContribOperators.md) says it computes; what has another form (a cache of
past keys, say) stays as it is, and is reported as unknown by whoever reads the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

DOMAIN = "com.microsoft"
_OWN = ("SimplifiedLayerNormalization", "LayerNormalization")
"""Made in the standard domain, whatever the model's operator set."""
_GELU = math.sqrt(2 / math.pi)


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


def expand(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with standard nodes in place of those of ONNX Runtime; itself where it has none."""
    graph = proto.graph
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)
    if not any(_foreign(node, opset) for node in graph.node):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes += _expanded(copy.graph, node, opset)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _foreign(node: NodeProto, opset: int) -> bool:
    unknown = node.op_type in _OWN and not onnx.defs.has(node.op_type, max_inclusive_version=opset)
    return node.domain == DOMAIN or unknown


def _expanded(graph: onnx.GraphProto, node: NodeProto, opset: int) -> Sequence[NodeProto]:
    if not _foreign(node, opset):
        return [node]
    writer = Writer(graph, node, opset)
    expansion = _EXPANSIONS.get(node.op_type)
    return writer.nodes if expansion is not None and expansion(writer) else [node]


def _matmul(w: Writer) -> bool:
    if w.get("transBatchA", 0) or w.get("transBatchB", 0):
        return False
    alpha = float(w.get("alpha", 1.0))
    last = w.output(0) if alpha == 1.0 else ""
    operands = [_turned(w, i) if w.get(f"trans{letter}", 0) else w.input(i) for i, letter in enumerate("AB")]
    if None in operands:
        left, right = ("ji" if w.get("transA", 0) else "ij"), ("kj" if w.get("transB", 0) else "jk")
        equation = f"...{left},...{right}->...ik"
        made = w.make("Einsum", w.input(0), w.input(1), out=last, equation=equation)
    else:
        made = w.make("MatMul", *map(str, operands), out=last)
    if alpha != 1.0:
        w.make("Mul", made, w.constant(alpha), out=w.output(0))
    return True


def _turned(w: Writer, index: int) -> str | None:
    """An operand with its last two dimensions exchanged; None where its rank is not known."""
    rank = _rank(w.graph, w.input(index))
    if rank is None:
        return None
    perm = [*range(rank - 2), rank - 1, rank - 2]
    return w.make("Transpose", w.input(index), perm=perm)


def _activated(kind: str, *extra: str) -> Expansion:
    """A Conv or Gemm with an activation behind it."""

    def expansion(w: Writer) -> bool:
        name = w.get("activation", "")
        keys = {"LeakyRelu": ["alpha"], "HardSigmoid": ["alpha", "beta"], "Clip": ["min", "max"]}.get(
            name, []
        )
        given = w.get("activation_params", []) or [w.get(f"activation_{k}", None) for k in keys]
        if name not in ("", "Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "Clip"):
            return False
        own = {k: v for k, v in w.attributes.items() if not k.startswith("activation")}
        inputs = list(w.node.input[:3])
        out = w.make(kind, *inputs, out="" if name or w.input(3) else w.output(0), **own)
        if w.input(3):
            out = w.make("Add", out, w.input(3), out="" if name else w.output(0))
        numbers = {k: float(v) for k, v in zip(keys, given, strict=False) if v is not None}
        if name == "Clip":
            w.make("Clip", out, *(w.constant(numbers[k]) for k in keys), out=w.output(0))
        elif name:
            w.make(name, out, out=w.output(0), **numbers)
        return True

    return expansion


def _gelu(*, tanh: bool, bias: bool) -> Expansion:
    def expansion(w: Writer) -> bool:
        x = w.make("Add", w.input(0), w.input(1)) if bias and w.input(1) else w.input(0)
        if tanh:
            cube = w.make("Mul", w.make("Mul", x, x), x)
            inner = w.make("Add", x, w.make("Mul", cube, w.constant(0.044715)))
            term = w.make("Tanh", w.make("Mul", inner, w.constant(_GELU)))
        else:
            term = w.make("Erf", w.make("Div", x, w.constant(math.sqrt(2))))
        half = w.make("Mul", x, w.constant(0.5))
        w.make("Mul", half, w.make("Add", term, w.constant(1.0)), out=w.output(0))
        return True

    return expansion


def _quick_gelu(w: Writer) -> bool:
    scaled = w.make("Mul", w.input(0), w.constant(float(w.get("alpha", 1.702))))
    w.make("Mul", w.input(0), w.make("Sigmoid", scaled), out=w.output(0))
    return True


def _layer_norm(w: Writer) -> bool:
    if int(w.get("axis", -1)) != -1 or w.output(1) or w.output(2):
        return False
    w.layer_norm(w.input(0), w.input(1), w.input(2), float(w.get("epsilon", 1e-5)), w.output(0))
    return True


def _rms_norm(w: Writer) -> bool:
    if int(w.get("axis", -1)) != -1 or w.output(1):
        return False
    normal = w.normalized(w.input(0), float(w.get("epsilon", 1e-5)))
    w.make("Mul", normal, w.input(1), out=w.output(0))
    return True


def _skip(*, centred: bool) -> Expansion:
    """The sum of two tensors (and a bias), normalized; the sum itself is the fourth result."""

    def expansion(w: Writer) -> bool:
        bias = w.input(4 if centred else 3)
        if w.output(1) or w.output(2):
            return False
        total = w.make("Add", w.input(0), w.input(1), out="" if bias else w.output(3))
        if bias:
            total = w.make("Add", total, bias, out=w.output(3))
        epsilon = float(w.get("epsilon", 1e-12))
        if centred:
            w.layer_norm(total, w.input(2), w.input(3), epsilon, w.output(0))
        else:
            w.make("Mul", w.normalized(total, epsilon), w.input(2), out=w.output(0))
        return True

    return expansion


def _embed(w: Writer) -> bool:
    ids, segments, words, places, kinds, gamma, beta, mask, at = (w.input(i) for i in range(9))
    if w.opset < 15:
        return False
    total = w.make("Gather", words, ids)
    if at:
        own = w.make("Gather", places, at)
    else:
        own = w.make("Slice", places, w.integers(0), w.make("Shape", ids, start=1, end=2), w.integers(0))
    total = w.make("Add", total, own, out="" if segments else w.output(2))
    if segments:
        total = w.make("Add", total, w.make("Gather", kinds, segments), out=w.output(2))
    w.layer_norm(total, gamma, beta, float(w.get("epsilon", 1e-12)), w.output(0))
    if w.output(1) and _used(w.graph, w.output(1)):
        ones = w.make("Cast", mask, to=6) if mask else ""
        if not ones:
            return False
        w.make("ReduceSum", ones, w.integers(1), out=w.output(1), keepdims=0)
    return True


def _attention(w: Writer) -> bool:
    x, weights, bias, mask, past, added = (w.input(i) for i in range(6))
    sizes = list(w.get("qkv_hidden_sizes", []))
    unknown = (
        past or w.get("unidirectional", 0) or w.get("do_rotary", 0) or len(set(sizes)) > 1 or w.output(1)
    )
    if unknown or w.opset < 15 or (mask and _rank(w.graph, mask) != 2):
        return False
    joined = w.make("MatMul", x, weights)
    joined = w.make("Add", joined, bias) if bias else joined
    names = (f"{w.base}/q", f"{w.base}/k", f"{w.base}/v")
    w.make("Split", joined, out=names, axis=-1, **({"num_outputs": 3} if w.opset >= 18 else {}))
    hidden = w.hidden(mask) if mask else ""
    hidden = w.make("Add", hidden, added) if hidden and added else hidden or added
    w.attend(*names, int(w.get("num_heads", 1)), hidden, w.get("scale", None))
    return True


def _multi_head(w: Writer) -> bool:
    q, k, v, bias, padding, added = (w.input(i) for i in range(6))
    unknown = any(map(w.input, range(6, 10))) or w.output(1) or w.get("unidirectional", 0)
    if unknown or not k or not v or bias or w.opset < 15 or (padding and _rank(w.graph, padding) != 2):
        return False
    hidden = w.hidden(padding) if padding else ""
    hidden = w.make("Add", hidden, added) if hidden and added else hidden or added
    w.attend(q, k, v, int(w.get("num_heads", 1)), hidden, w.get("scale", None))
    return True


def _used(graph: onnx.GraphProto, name: str) -> bool:
    return any(name in node.input for node in graph.node) or any(v.name == name for v in graph.output)


def _rank(graph: onnx.GraphProto, name: str) -> int | None:
    weights = next((t for t in graph.initializer if t.name == name), None)
    if weights is not None:
        return len(weights.dims)
    for value in (*graph.input, *graph.value_info):
        if value.name == name and value.type.tensor_type.HasField("shape"):
            return len(value.type.tensor_type.shape.dim)
    return None


def _same(w: Writer) -> bool:
    """An operator that standard ONNX has by now."""
    w.make(w.node.op_type, *w.node.input, out=list(w.node.output), **w.attributes)
    return True


def _between(kind: str, operands: int) -> Expansion:
    """Dequantized (each: numbers, scale, zero point), computed, and quantized again."""

    def expansion(w: Writer) -> bool:
        if w.get("channels_last", 0):
            return False
        plain = [w.make("DequantizeLinear", *(w.input(3 * i + j) for j in range(3))) for i in range(operands)]
        own = {k: v for k, v in w.attributes.items() if k != "channels_last"}
        made = w.make(kind, *plain, **own)
        last = (w.input(3 * operands), w.input(3 * operands + 1))
        w.make("QuantizeLinear", made, *filter(None, last), out=w.output(0))
        return True

    return expansion


def _joined(w: Writer) -> bool:
    groups = range(2, len(w.node.input), 3)
    plain = [w.make("DequantizeLinear", *(w.input(i + j) for j in range(3))) for i in groups]
    made = w.make("Concat", *plain, axis=int(w.get("axis", 0)))
    w.make("QuantizeLinear", made, w.input(0), w.input(1), out=w.output(0))
    return True


_EXPANSIONS: dict[str, Expansion] = {
    "FusedMatMul": _matmul, "TransposeMatMul": _matmul,
    "FusedConv": _activated("Conv"), "FusedGemm": _activated("Gemm"),
    "Gelu": _gelu(tanh=False, bias=False), "BiasGelu": _gelu(tanh=False, bias=True),
    "FastGelu": _gelu(tanh=True, bias=True), "QuickGelu": _quick_gelu,
    "LayerNormalization": _layer_norm, "SimplifiedLayerNormalization": _rms_norm,
    "SkipLayerNormalization": _skip(centred=True), "SkipSimplifiedLayerNormalization": _skip(centred=False),
    "EmbedLayerNormalization": _embed, "Attention": _attention, "MultiHeadAttention": _multi_head,
    "QuantizeLinear": _same, "DequantizeLinear": _same,
    "QLinearAdd": _between("Add", 2), "QLinearMul": _between("Mul", 2),
    "QLinearSigmoid": _between("Sigmoid", 1), "QLinearLeakyRelu": _between("LeakyRelu", 1),
    "QLinearGlobalAveragePool": _between("GlobalAveragePool", 1),
    "QLinearAveragePool": _between("AveragePool", 1), "QLinearConcat": _joined,
}  # fmt: skip
