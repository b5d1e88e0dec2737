"""DEQUANTIZE, float operator, QUANTIZE -> one operator on integers, where a kernel computes the same.

What has no such kernel stays in float between its DEQUANTIZE and QUANTIZE, which is always right. Operators
that only move or compare elements work on the integers as they are and keep their scale; where the program
wants another one, a product with one afterwards gives exactly what it would have given before.
"""

from __future__ import annotations

from collections import Counter

from edgecut.targets.tflite import fuse, lir, pixels, relabel, stored
from edgecut.targets.tflite.lir import Graph, Op, Tensor
from edgecut.targets.tflite.quantize.rule import Rule
from edgecut.targets.tflite.widths import INT8, INT16


def run(graph: Graph) -> None:
    """Turn what can be turned, and let the rest of the program read plain numbers."""
    pixels.run(graph)
    for width in (INT8, INT16):
        lir.rewrite(graph, Rule(width))
    relabel.run(graph)
    lir.rewrite(graph, fuse.moves)
    numbers: dict[Tensor, Tensor] = {}
    for op in lir.order(graph.values.values()):
        _read_numbers(op, numbers)
    graph.values = {name: _number(t, numbers) for name, t in graph.values.items()}
    merge_dequantize(graph)


def merge_dequantize(graph: Graph) -> None:
    """One DEQUANTIZE of each tensor serves all."""
    first: dict[Tensor, Tensor] = {}

    def rule(op: Op, uses: Counter[Tensor]) -> Tensor | None:
        if op.kind != "DEQUANTIZE" or op.inputs[0] is None:
            return None
        return first.setdefault(op.inputs[0], op.output)

    lir.rewrite(graph, rule)


def _number(tensor: Tensor, numbers: dict[Tensor, Tensor]) -> Tensor:
    """A constant in float, if it is stored quantized."""
    if not tensor.is_constant or tensor.quant is None:
        return tensor
    if tensor not in numbers:
        numbers[tensor] = lir.constant(lir.real(tensor))
    return numbers[tensor]


def _read_numbers(op: Op, numbers: dict[Tensor, Tensor]) -> None:
    """Constants that a float operator reads must be floats."""
    if op.output.dtype.kind in "iu" and op.output.quant is not None:
        return
    op.inputs = [
        t if t is None or stored.is_weight(op, i) else _number(t, numbers) for i, t in enumerate(op.inputs)
    ]
