"""Constant factors that cost nothing: the same integers, said to have another scale.

A product with a constant that is rounded to int8 is what it multiplies, rounded to a scale divided by the
constant. So a hard sigmoid, limit(x + 3, 0, 6) / 6, is one ADD whose result is held with six times the
scale. RELABEL, which exists only here, says so; it moves down through what is linear and ends in the
weights of the next layer. What stays becomes a MUL by one, in int8, which is exact.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.fuse import WEIGHTED
from edgecut.targets.tflite.lir import Graph, Op, Quant, Tensor

_LINEAR = frozenset((
    "MUL", "MEAN", "RESHAPE", "TRANSPOSE", "PAD", "MIRROR_PAD", "SLICE", "STRIDED_SLICE", "GATHER", "TILE",
    "MAX_POOL_2D", "RESIZE_NEAREST_NEIGHBOR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH",
))  # fmt: skip


def relabel(tensor: Tensor, quant: Quant, sources: frozenset[str]) -> Tensor:
    """The same integers with another scale."""
    if quant.same(tensor.quant):
        return tensor
    (out,) = lir.emit("RELABEL", [tensor], [tensor.shape], [tensor.dtype], sources)
    out.quant = quant
    return out


def product(
    tensor: Tensor, factor: float, quant: Quant, sources: frozenset[str], activation: int = 0
) -> Tensor:
    """A tensor of integers times a constant, on another scale: 127 steps of a 127th, if it is int8.

    The kernel rounds the exact product as ONNX does. QUANTIZE from int8 to int8 does not: XNNPACK knows the
    quotient of the scales to 8 bits only.
    """
    most = np.iinfo(tensor.dtype).max
    held = Quant(np.array([factor / most], np.float32), np.zeros(1, np.int64))
    constant = lir.constant(np.full((1,) * tensor.rank, most, tensor.dtype), held)
    options = {"fusedActivationFunction": activation}
    (out,) = lir.emit("MUL", [tensor, constant], [tensor.shape], [tensor.dtype], sources, options)
    out.quant = quant
    return out


def run(graph: Graph) -> None:
    """Move every RELABEL into weights where they are near, and make kernels of the others.

    A value that is only sent on is held as it is: those who read it know its scale from the program.
    """
    lir.rewrite(graph, _rule)
    for name, tensor in graph.values.items():
        if tensor.op is not None and tensor.op.kind == "RELABEL" and name not in graph.contract:
            graph.values[name] = _given(tensor.op)
    for op in lir.order(graph.values.values()):
        if op.kind == "RELABEL":
            _materialize(op)


def _rule(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    x = op.inputs[0] if op.inputs else None
    if x is None or op.output.dtype not in (np.int8, np.int16):
        return None
    if op.kind in WEIGHTED:
        return _into_weights(op, x)
    if op.kind in _LINEAR and not op.options.get("fusedActivationFunction"):
        return _pushed(op)
    return None


def _into_weights(op: Op, x: Tensor) -> Tensor | None:
    weights, bias = op.inputs[1:3]
    if x.op is None or x.op.kind != "RELABEL" or weights is None or weights.quant is None or bias is None:
        return None
    inner = _given(x.op)
    assert inner.quant is not None
    quant = weights.quant
    # What the kernel multiplies with is the product of both scales, which stays.
    scales = (quant.scale.astype(np.float64) * _factor(x.op)).astype(np.float32)
    weights = Tensor(weights.shape, weights.dtype, weights.data, Quant(scales, quant.zero, quant.axis))
    copy = lir.like(op, [inner, weights, bias])
    return copy.output


def _pushed(op: Op) -> Tensor | None:
    """The operator on tensors as they are held, and the change of scale after it."""
    sizes = [1.0 if t is None or t.op is None or t.op.kind != "RELABEL" else _factor(t.op) for t in op.inputs]
    factor = float(np.prod(sizes))
    if all(size == 1.0 for size in sizes):
        return None
    inputs = [_given(t.op) if t is not None and t.op is not None and size != 1.0 else t
              for t, size in zip(op.inputs, sizes, strict=True)]  # fmt: skip
    quant = op.output.quant
    assert quant is not None
    copy = lir.like(op, inputs)
    copy.output.quant = Quant((quant.scale.astype(np.float64) / factor).astype(np.float32), quant.zero)
    return relabel(copy.output, quant, op.sources)


def _materialize(op: Op) -> None:
    """Turn a RELABEL into a product with one."""
    assert op.output.quant is not None
    made = product(_given(op), _factor(op), op.output.quant, op.sources).op
    assert made is not None
    op.kind, op.inputs, op.options = made.kind, made.inputs, made.options


def _factor(op: Op) -> float:
    """How much more a step stands for afterwards."""
    before, after = _given(op).quant, op.output.quant
    assert before is not None
    assert after is not None
    return float(after.scale[0]) / float(before.scale[0])


def _given(op: Op) -> Tensor:
    tensor = op.inputs[0]
    assert tensor is not None
    return tensor
