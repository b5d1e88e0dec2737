"""How much work a node or a group of nodes is: multiply-accumulates, bytes moved, bytes of weights.

Everything is counted from shapes and types alone. Quantized tensors count as the integers that the
kernels read and write, not as the floats between DequantizeLinear and QuantizeLinear.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_ir as oir

from edgecut.ir.program import Program, static_shape

Kind = Literal[
    "conv", "stem", "transposed", "pointwise", "depthwise", "wide", "dense", "vector", "matmul", "recurrent",
    "pool", "reduce", "norm", "elementwise", "transcendental", "layout", "view", "resize", "quantize",
    "input", "other",
]  # fmt: skip
Precision = Literal["float32", "int8", "int16"]

_KINDS: dict[Kind, str] = {
    "recurrent": "LSTM GRU RNN",
    "pool": "MaxPool AveragePool GlobalAveragePool GlobalMaxPool LpPool GlobalLpPool",
    "reduce": """ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare
        ArgMax ArgMin TopK CumSum""",
    "norm": """BatchNormalization InstanceNormalization LayerNormalization GroupNormalization LRN
        LpNormalization RMSNormalization""",
    "elementwise": """Add Sub Mul Div Neg Abs Max Min Sum Mean Relu LeakyRelu PRelu Clip HardSigmoid
        HardSwish Sqrt Reciprocal Floor Ceil Round Where Equal Greater Less GreaterOrEqual LessOrEqual
        And Or Not Sign Cast""",
    "transcendental": """Sigmoid Tanh Exp Log Erf Gelu Softmax LogSoftmax Softplus Elu Selu Mish Pow Sin
        Cos Swish""",
    "layout": """Transpose Concat Slice Split Pad Gather GatherElements GatherND Expand Tile DepthToSpace
        SpaceToDepth ScatterND ScatterElements""",
    "view": "Reshape Flatten Squeeze Unsqueeze Identity Dropout",
    "resize": "Resize Upsample GridSample",
    "quantize": "QuantizeLinear DynamicQuantizeLinear",
}
_KIND_OF = {op: kind for kind, names in _KINDS.items() for op in names.split()}
_VIEWS = frozenset(_KINDS["view"].split())
# Convolutions of so few channels, the first of a network, have kernels of their own.
_STEM = 4
# Depthwise convolutions of more taps than this have no kernels of their own (XNNPACK's go up to 5 x 5).
_MOST_TAPS = 25
# What stands at a network's input pays for bringing it into the layout of the kernels.
_AT_INPUT = frozenset({"elementwise", "layout", "view", "quantize"})
# They read only what they give, however large the table.
_LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND"})
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class Work:
    """What a fusion group has to do for one inference."""

    kind: Kind
    """Kind of the node that dominates."""
    precision: Precision
    macs: int
    bytes: int
    """Read and written from outside the group: activations and weights."""
    weight_bytes: int
    output_bytes: int = 0
    loops: int = 0
    """Sums over input channels, each of which is a loop of its own: multiply-accumulates over channels."""
    taps: int = 0
    """Positions of a kernel over the results, whatever the channels: pixels times weights of one channel."""


def group(nodes: Sequence[oir.Node]) -> Work:
    """The work of nodes that run as one kernel: what passes between them moves no bytes.

    Args:
        nodes: At least one node, in topological order, without duplicable ones.
    """
    main = max(nodes, key=_weight)
    inside = set(nodes)
    read = {stored(v): None for n in nodes for v in n.inputs if v is not None}
    outer = [v for v in read if v.producer() not in inside and not _is_weight(v)]
    weights = weight_bytes(nodes)
    output = sum(map(_nbytes, _written(nodes, inside)))
    moved = 0 if _is_view(nodes) else sum(map(_nbytes, outer)) + output
    does = kind(main)
    lookup = main.op_type in _LOOKUPS
    if does in _AT_INPUT and not lookup and outer and all(v.is_graph_input() for v in outer):
        does = "input"
    counts = [loops_and_taps(node) for node in nodes]
    return Work(
        does,
        precision(main),
        sum(map(macs, nodes)),
        moved + (min(weights, output) if lookup else weights),
        weights,
        output,
        sum(loops for loops, _ in counts),
        sum(taps for _, taps in counts),
    )


def kind(node: oir.Node) -> Kind:
    """The kind of an operator, as performance goes."""
    if node.op_type in ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv"):
        return _convolution(node)
    if node.op_type in ("Gemm", "MatMul", "MatMulInteger", "Einsum"):
        return _product(node)
    return _KIND_OF.get(node.op_type, "other")


def precision(node: oir.Node) -> Precision:
    """Of integers where a kernel computes on them: its first input is dequantized, its result quantized."""
    data = node.inputs[0] if node.inputs else None
    producer = data.producer() if data is not None else None
    if producer is None or producer.op_type != "DequantizeLinear" or not _quantized(node):
        return "float32"
    stored = producer.inputs[0]
    return "int16" if stored is not None and stored.dtype == oir.DataType.INT16 else "int8"


def macs(node: oir.Node) -> int:
    """Multiply-accumulates of convolutions, matrix products and recurrent layers; 0 for all others."""
    if node.op_type in ("Conv", "ConvTranspose"):
        return _conv_macs(node)
    if node.op_type in ("Gemm", "MatMul"):
        left = _shape(node.inputs[0])
        inner = left[0 if _int(node, "transA", 0) else -1] if left else 0
        return _elements(node.outputs[0]) * inner
    if node.op_type == "Einsum":
        return _einsum_macs(node)
    if node.op_type in _GATES:
        return _recurrent_macs(node)
    return 0


def loops_and_taps(node: oir.Node) -> tuple[int, int]:
    """How many sums over input channels a node goes through, and positions of a kernel, if several."""
    depth, width = _depth_and_width(node)
    if depth <= 1 or not width:
        return 0, 0
    taps = macs(node) // (depth * width)
    return macs(node) // depth, taps if taps > 1 else 0  # (the only one is a fixed cost)


def weight_bytes(nodes: Iterable[oir.Node]) -> int:
    """Bytes of the initializers that nodes read, each counted once, as they are stored."""
    found: set[oir.Value] = set()
    stack = [v for n in nodes for v in n.inputs if v is not None and _is_weight(v)]
    while stack:
        value = stack.pop()
        producer = value.producer()
        if value in found or (producer is None and value.const_value is None):
            continue
        if producer is None or value.const_value is not None:
            found.add(value)
            continue
        stack.extend(v for v in producer.inputs if v is not None)
    return sum(_nbytes(v) for v in found)


def peak_activation_bytes(program: Program) -> int:
    """Most bytes of activations alive at once when nodes run in the program's order."""
    order = list(program.nodes)
    last = {v: i for i, n in enumerate(order) for v in n.inputs if v is not None}
    last.update(dict.fromkeys(program.graph.outputs, len(order)))
    dying: dict[int, int] = {}
    for value in program.graph.inputs:
        dying[last.get(value, 0)] = dying.get(last.get(value, 0), 0) + _nbytes(value)
    alive = peak = sum(dying.values())
    for i, node in enumerate(order):
        for value in node.outputs:
            size = 0 if node.op_type in _VIEWS or _is_weight(value) else _nbytes(value)
            dying[last.get(value, i)] = dying.get(last.get(value, i), 0) + size
            alive += size
        peak = max(peak, alive)
        alive -= dying.get(i, 0)
    return peak


def _weight(node: oir.Node) -> tuple[int, int]:
    """Order of nodes by how much they dominate a group; quantizing is never what a group is about."""
    size = sum(map(_elements, node.outputs))
    return macs(node), 0 if node.op_type in ("QuantizeLinear", "Relu", "Clip") else 1 + size


def _depth_and_width(node: oir.Node) -> tuple[int, int]:
    """Channels summed over, and channels that come out, per group of a convolution; 0, 0 of others."""
    weight = _shape(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type == "Conv" and weight:
        return weight[1], weight[0] // _int(node, "group", 1)
    if node.op_type == "ConvTranspose" and weight:
        return weight[0] // _int(node, "group", 1), weight[1]
    output = _shape(node.outputs[0])
    if node.op_type in ("Gemm", "MatMul") and output:
        left = _shape(node.inputs[0])
        return (left[0 if _int(node, "transA", 0) else -1] if left else 0), output[-1]
    return 0, 0


def _product(node: oir.Node) -> Kind:
    if not any(_is_weight(v) for v in node.inputs[:2]):
        return "matmul"
    output = _shape(node.outputs[0])
    return "vector" if output and math.prod(output[:-1]) == 1 else "dense"


def _convolution(node: oir.Node) -> Kind:
    if node.op_type == "ConvTranspose":
        return "transposed"
    weight = _shape(node.inputs[1])
    groups = _int(node, "group", 1)
    if groups > 1 and weight and groups == weight[0]:
        return "wide" if math.prod(weight[1:]) > _MOST_TAPS else "depthwise"
    if groups == 1 and weight and math.prod(weight[2:]) == 1:
        return "pointwise"
    return "stem" if weight and weight[1] <= _STEM else "conv"


def _conv_macs(node: oir.Node) -> int:
    weight = _shape(node.inputs[1])
    if not weight:
        return 0
    # weight is [M, C/group, k...] for Conv, over outputs; [C, M/group, k...] for ConvTranspose, over inputs.
    over = node.outputs[0] if node.op_type == "Conv" else node.inputs[0]
    return _elements(over) * math.prod(weight[1:])


def _recurrent_macs(node: oir.Node) -> int:
    data, weight, recurrence = (_shape(v) for v in node.inputs[:3])
    if not (data and weight and recurrence):
        return 0
    steps = data[0] * data[1]
    return steps * (math.prod(weight) + math.prod(recurrence))


def _einsum_macs(node: oir.Node) -> int:
    terms = node.attributes["equation"].as_string().replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, value in zip(terms, node.inputs, strict=False):
        sizes.update(zip(term, _shape(value) or (), strict=False))
    return math.prod(sizes.values()) if sizes else 0


def _is_weight(value: oir.Value | None) -> bool:
    """Whether a value is an initializer, or computed by one node from initializers (dequantized, say)."""
    if value is None or value.const_value is not None:
        return value is not None
    node = value.producer()
    return node is not None and all(v is not None and v.const_value is not None for v in node.inputs)


def _is_view(nodes: Sequence[oir.Node]) -> bool:
    return all(n.op_type in _VIEWS for n in nodes)


def _quantized(node: oir.Node) -> bool:
    """Whether every use of the result, through activations and what only rounds, is a QuantizeLinear."""
    users = [user for v in node.outputs for user, _ in v.uses()]
    return bool(users) and all(
        u.op_type == "QuantizeLinear" or (_is_fused(u, node) and _quantized(u)) for u in users
    )


def _is_fused(user: oir.Node, node: oir.Node) -> bool:
    """Whether the kernel of a node computes the one after it: an activation, or halves rounded upwards."""
    if user.op_type in ("Relu", "Clip"):
        return True
    rounds = node.op_type in ("Resize", "LeakyRelu") and user.op_type == "Add"
    return rounds and any(v is not None and v.const_value is not None for v in user.inputs)


def stored(value: oir.Value) -> oir.Value:
    """The value that is in memory: a dequantized tensor is there as its integers."""
    node = value.producer()
    if node is not None and node.op_type == "DequantizeLinear" and node.inputs[0] is not None:
        return node.inputs[0]
    return value


def _written(nodes: Sequence[oir.Node], inside: set[oir.Node]) -> list[oir.Value]:
    outputs = [v for n in nodes for v in n.outputs]
    return [v for v in outputs if v.is_graph_output() or any(u not in inside for u, _ in v.uses())]


def _shape(value: oir.Value | None) -> tuple[int, ...] | None:
    return None if value is None else static_shape(value)


def _elements(value: oir.Value | None) -> int:
    shape = _shape(value)
    return 0 if shape is None else math.prod(shape)


def _nbytes(value: oir.Value) -> int:
    """Bytes of a value; 0 where its shape is only known at run time."""
    if value.dtype is None and value.const_value is not None:
        return value.const_value.nbytes
    return math.ceil(_elements(value) * value.dtype.itemsize) if value.dtype is not None else 0


def _int(node: oir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()
