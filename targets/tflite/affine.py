"""Scale and shift per channel, as layer normalization ends, done by the weights of the matrices behind it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Graph, Op, Tensor


def run(graph: Graph) -> None:
    """Fold them wherever matrices with constant float weights are all that reads them."""
    inner = Counter(
        t for op in graph.order() if op.kind == "FULLY_CONNECTED" for t in op.inputs[:1] if t is not None
    )

    def rule(op: Op, uses: Counter[Tensor]) -> Tensor | None:
        x = op.inputs[0] if op.kind == "FULLY_CONNECTED" else None
        folded = _folded(op, x) if x is not None and uses[x] <= inner[x] else None
        if folded is not None and folded.op is not None and folded.op.inputs[0] is not None:
            inner[folded.op.inputs[0]] += 1
        return folded

    if inner:
        lir.rewrite(graph, rule)


def _folded(op: Op, x: Tensor) -> Tensor | None:
    """``W (g u + b) + c`` as ``(W g) u + (W b + c)``."""
    weights, bias, before = op.inputs[1], op.inputs[2], x.op
    plain = weights is not None and weights.is_constant and weights.quant is None
    if not plain or bias is None or not bias.is_constant or before is None or x.dtype != np.float32:
        return None
    if before.kind not in ("ADD", "MUL") or before.options.get("fusedActivationFunction"):
        return None
    left, right = before.inputs
    if left is not None and left.is_constant:
        left, right = right, left
    assert weights is not None
    numbers = None if right is None else _per_column(right, x, weights.shape[1])
    if left is None or numbers is None or left.shape != x.shape:
        return None
    matrix, offset = lir.real(weights), lir.real(bias)
    if before.kind == "MUL":
        matrix = matrix * numbers
    else:
        offset = offset + matrix.astype(np.float64) @ numbers
    inputs = [left, lir.constant(matrix.astype(np.float32)), lir.constant(offset.astype(np.float32))]
    return lir.like(op, inputs, sources=op.sources | before.sources).output


def _per_column(tensor: Tensor, x: Tensor, columns: int) -> Array | None:
    """A constant's number for each column, where it differs along nothing else."""
    if not tensor.is_constant or tensor.quant is not None or x.shape[-1] != columns:
        return None
    numbers = lir.real(tensor)
    if any(n != 1 for n in numbers.shape[:-1]) or numbers.ndim > x.rank:
        return None
    return np.broadcast_to(numbers.reshape(-1), (columns,)).astype(np.float64)
