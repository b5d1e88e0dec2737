"""Which nodes run on integers, which values they exchange, and which of those share one grid.

Operators with weights are the reason to quantize; the light ones between them join where all that they
read is quantized already, so that integers are not turned into floats and back. TFLite's integer kernels
set the rules: operators that only move or select numbers have one grid for what they read and write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as oir

from edgecut.ir.program import Program, static_shape
from edgecut.passes.quantize import hard, means
from edgecut.passes.quantize.grid import Grid
from edgecut.targets.tflite import spelled, taps

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
WEIGHTED = CONVOLUTIONS | {"Gemm", "MatMul"}
ARITHMETIC = frozenset({"Add", "Sub", "Mul"})
MOVING = frozenset(
    {"MaxPool", "Concat", "Slice", "Split", "Pad", "Resize", "DepthToSpace", "SpaceToDepth"}
    | {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"}
)
RESCALING = frozenset({"Relu", "Clip", "LeakyRelu", "GlobalAveragePool", "AveragePool", "ReduceMean"})
# The kernels of these have one output grid built in, per type of integers.
FIXED = {
    "int8": {"Sigmoid": Grid(1 / 256, -128), "Tanh": Grid(1 / 128, 0), "HardSigmoid": Grid(1 / 255, -128)},
    "int16": {
        "Sigmoid": Grid(1 / 32768, 0, "int16"),
        "Tanh": Grid(1 / 32768, 0, "int16"),
        "HardSigmoid": Grid(1 / 32767, 0, "int16"),
    },
}
_LIGHT = ARITHMETIC | MOVING | RESCALING | frozenset(FIXED["int8"])
# A GELU has one of these in it.
_TERMS = frozenset({"Erf", "Tanh", "Sigmoid"})
# Bounds that the kernels can apply to a result before they round it.
_FUSED_CLIPS = ((0.0, 6.0), (-1.0, 1.0), (0.0, float("inf")))


@dataclass
class Region:
    """The part of a graph that runs on integers."""

    nodes: set[oir.Node] = field(default_factory=set)
    chains: list[tuple[oir.Node, ...]] = field(default_factory=list)
    """The same nodes, those together that one kernel computes."""
    inner: set[oir.Value] = field(default_factory=set)
    """Values between nodes that one kernel computes together (Conv to Relu): never rounded."""
    biases: dict[oir.Node, oir.Value] = field(default_factory=dict)
    """Float biases of the nodes with weights, that of a MatMul standing in the Add after it."""

    def values(self) -> list[oir.Value]:
        """Values that are quantized, in the order of the graph."""
        found = {v: None for n in _sorted(self.nodes) for v in (*activations(n), *n.outputs)}
        return [v for v in found if v not in self.inner and not _is_bias(v, self)]


def select(program: Program, keep: frozenset[str] = frozenset()) -> Region:
    """Find the region of a program.

    Args:
        program: Float, with static shapes.
        keep: Names of nodes that stay in float.
    """
    region, quantized = Region(), set[oir.Value]()
    for node in program.nodes:
        if node.name in keep or node in region.nodes or not _is_float(node):
            continue
        if not (_has_weight(node) or _may_join(node, quantized)):
            continue
        chain = list(_chain(node, keep, region))
        region.nodes.update(chain)
        region.chains.append(tuple(chain))
        region.inner.update(n.outputs[0] for n in chain[:-1])
        quantized.update(v for v in (*activations(node), *chain[-1].outputs))
    return region


def slow(program: Program) -> frozenset[str]:
    """Names of nodes that TFLite computes faster in float.

    Depthwise convolutions with many taps: XNNPACK's kernels for them end at 25; beyond, the back end divides
    those in float, which it cannot do on integers, as each part would be rounded. And the operators that a
    network spells GELU in: in float they are one kernel, of which integers have none that is fast.
    """
    divided = (n.name or "" for n in program.nodes if n.op_type == "Conv" and _is_divided(n))
    return frozenset(divided) | (
        _gelus(program) if any(n.op_type in _TERMS for n in program.nodes) else set()
    )


def _gelus(program: Program) -> set[str]:
    light = {n.name or "" for n in program.nodes if n.op_type in _LIGHT}
    return light & set().union(*spelled(program, "GELU"))


def _is_divided(node: oir.Node) -> bool:
    shape = static_shape(node.inputs[1]) if node.inputs[1] is not None else None
    if shape is None or shape[1] != 1 or shape[0] != _int(node, "group", 1):
        return False
    strides = node.attributes["strides"].as_ints() if "strides" in node.attributes else ()
    return int(np.prod(shape[2:])) > taps.KERNELS[-1] and all(n == 1 for n in strides)


def ties(region: Region) -> list[list[oir.Value]]:
    """Groups of values that share one grid; every quantized value is in exactly one."""
    values = region.values()
    parent = {v: v for v in values}

    def root(value: oir.Value) -> oir.Value:
        while parent[value] is not value:
            parent[value] = value = parent[parent[value]]
        return value

    for node in _sorted(region.nodes):
        if moves(node):
            first, *rest = (*activations(node), *node.outputs)
            for other in rest:
                parent[root(other)] = root(first)
    groups: dict[oir.Value, list[oir.Value]] = {}
    for value in values:
        groups.setdefault(root(value), []).append(value)
    return list(groups.values())


def sources(group: list[oir.Value], region: Region) -> list[oir.Value]:
    """Values of a group that hold new numbers, not only moved ones."""
    return [v for v in group if not _is_moved(v, region)]


def activations(node: oir.Node) -> list[oir.Value]:
    """Float inputs of a node that are known at run time only."""
    floats = [v for v in node.inputs if v is not None and v.dtype == oir.DataType.FLOAT]
    return [v for v in floats if v.const_value is None]


def moves(node: oir.Node) -> bool:
    """Whether a node has one grid for what it reads and writes."""
    if node.op_type == "Resize" and means.interpolates(node):
        return means.keeps_scale(node)
    return node.op_type in MOVING


def weight_axis(node: oir.Node) -> int | None:
    """The axis of a node's weight that counts output channels; None where channels cannot have own scales."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if _int(node, "group", 1) == 1 else None
    if node.op_type == "Gemm":
        return 0 if _int(node, "transB", 0) else 1
    return 1


def _is_float(node: oir.Node) -> bool:
    return node.domain in ("", "ai.onnx") and all(v.dtype == oir.DataType.FLOAT for v in node.outputs)


def _has_weight(node: oir.Node) -> bool:
    if node.op_type not in WEIGHTED or len(activations(node)) != 1:
        return False
    weight = node.inputs[1]
    if weight is None or weight.const_value is None or node.inputs[0] is not activations(node)[0]:
        return False
    rank = len(weight.const_value.shape)
    if node.op_type in CONVOLUTIONS:
        return rank in (3, 4)
    plain = _float(node, "alpha", 1.0) == 1.0 == _float(node, "beta", 1.0) and not _int(node, "transA", 0)
    return rank == 2 and (plain or node.op_type == "MatMul")


def _may_join(node: oir.Node, quantized: set[oir.Value]) -> bool:
    inputs = activations(node)
    if node.op_type not in _LIGHT or not inputs or not all(v in quantized for v in inputs):
        return False
    if any(static_shape(v) is None for v in (*inputs, *node.outputs)):
        return False
    return _CHECKS.get(node.op_type, _always)(node)


def _always(node: oir.Node) -> bool:
    return True


def _zero_or_reflected(node: oir.Node) -> bool:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    constant = _str(node, "mode", "constant") == "constant"
    return not constant or value is None or _constant(value) == 0


def _whole_concat(node: oir.Node) -> bool:
    """Whether all parts are computed, and none has a grid of its own that the others cannot share."""
    fixed = any(p is not None and p.op_type in FIXED for p in (v.producer() for v in activations(node)))
    return not fixed and len(activations(node)) == len(node.inputs)


def _plain_resize(node: oir.Node) -> bool:
    return _str(node, "mode", "nearest") in ("nearest", "linear")


def _one_output(node: oir.Node) -> bool:
    return len(node.outputs) == 1


_CHECKS: dict[str, Callable[[oir.Node], bool]] = {
    "Clip": lambda node: clip_bounds(node) in _FUSED_CLIPS,
    "Concat": _whole_concat,
    "HardSigmoid": hard.is_gate,
    "MaxPool": _one_output,
    "Pad": _zero_or_reflected,
    "Resize": _plain_resize,
}


def clip_bounds(node: oir.Node) -> tuple[float, float] | None:
    """The bounds of a Relu or Clip, or None where they are not constants."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    low, high = (node.inputs[i] if len(node.inputs) > i else None for i in (1, 2))
    bounds = (
        -float("inf") if low is None else _constant(low),
        float("inf") if high is None else _constant(high),
    )
    return None if bounds[0] is None or bounds[1] is None else (bounds[0], bounds[1])


def slope(node: oir.Node) -> float:
    """Of a LeakyRelu, below zero."""
    return _float(node, "alpha", 0.01)


def _chain(node: oir.Node, keep: frozenset[str], region: Region) -> Iterator[oir.Node]:
    """A node and those after it that the same kernel computes: the Add of a bias, an activation."""
    yield node
    if node.op_type in WEIGHTED and len(node.inputs) > 2 and node.inputs[2] is not None:
        region.biases[node] = node.inputs[2]
    following = _only_user(node, keep)
    bias = _matmul_bias(node, following)
    if following is not None and bias is not None:
        region.biases[node] = bias
        yield following
        following = _only_user(following, keep)
    if following is None or following.op_type not in ("Relu", "Clip"):
        return
    if node.op_type in WEIGHTED | ARITHMETIC and clip_bounds(following) in _FUSED_CLIPS:
        yield following


def _only_user(node: oir.Node, keep: frozenset[str]) -> oir.Node | None:
    output = node.outputs[0]
    users = list(output.uses())
    if len(users) != 1 or output.is_graph_output() or users[0][0].name in keep:
        return None
    return users[0][0]


def _matmul_bias(node: oir.Node, following: oir.Node | None) -> oir.Value | None:
    if node.op_type != "MatMul" or following is None or following.op_type != "Add":
        return None
    width = node.outputs[0].shape[-1] if node.outputs[0].shape is not None else None
    constants = [v for v in following.inputs if v is not None and v.const_value is not None]
    fits = len(constants) == 1 and static_shape(constants[0]) == (width,)
    return constants[0] if fits else None


def _is_moved(value: oir.Value, region: Region) -> bool:
    producer = value.producer()
    return producer is not None and producer in region.nodes and moves(producer)


def _is_bias(value: oir.Value, region: Region) -> bool:
    return value.const_value is not None or any(value is b for b in region.biases.values())


def _sorted(nodes: set[oir.Node]) -> list[oir.Node]:
    graph = next(iter(nodes)).graph if nodes else None
    return [n for n in graph if n in nodes] if graph is not None else []


def _constant(value: oir.Value) -> float | None:
    if value.const_value is None or value.const_value.size != 1:
        return None
    return float(np.asarray(value.const_value.numpy()).reshape(()))


def _int(node: oir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _float(node: oir.Node, name: str, default: float) -> float:
    return node.attributes[name].as_float() if name in node.attributes else default


def _str(node: oir.Node, name: str, default: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else default
