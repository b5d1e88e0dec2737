"""Gemm and MatMul: FULLY_CONNECTED where the right side is constant, BATCH_MATMUL elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import Call


def gemm(call: Call) -> Tensor:
    """Alpha * A' B' + beta * C for matrices A, B, with C broadcast."""
    call.float_only(0, 1)
    a, b = call.input(0), call.input(1)
    alpha, beta = float(call.attribute("alpha", 1.0)), float(call.attribute("beta", 1.0))
    if call.attribute("transA", 0):
        a = call.transpose(a, (1, 0))
    if not call.attribute("transB", 0):
        b = call.transpose(b, (1, 0))
    if alpha != 1.0 and b.is_constant:
        b = lir.constant((lir.real(b) * np.float32(alpha)).astype(np.float32))
    elif alpha != 1.0:
        a = call.binary("MUL", a, call.scalar(alpha))
    bias = _bias(call, beta, b.shape[0])
    out = fully_connected(call, a, b, bias)
    if bias is not None or not call.has(2) or beta == 0.0:
        return out
    c = call.input(2)
    return call.binary("ADD", out, c if beta == 1.0 else call.binary("MUL", c, call.scalar(beta)))


def matmul(call: Call) -> Tensor:
    """Matrix product with batches, as NumPy does it."""
    call.float_only(0, 1)
    return product(call, call.input(0), call.input(1))


def product(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Matrix product of two tensors."""
    call.need(a.rank > 0 and b.rank > 0, "a scalar operand")
    if b.is_constant and b.rank == 2 and a.rank >= 1:
        return fully_connected(call, a, call.transpose(b, (1, 0)), None)
    left = call.reshape(a, (1, *a.shape)) if a.rank == 1 else a
    right = call.reshape(b, (*b.shape, 1)) if b.rank == 1 else b
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    call.need(len(batch) <= 3, f"rank {len(batch) + 2}")
    rank = len(batch) + 2
    left, right = (call.reshape(t, (1,) * (rank - t.rank) + t.shape) for t in (left, right))
    shape = (*batch, left.shape[-2], right.shape[-1])
    out = call.emit(
        "BATCH_MATMUL", [left, right], shape, adjX=False, adjY=False, asymmetricQuantizeInputs=False
    )
    rows = [] if a.rank == 1 else [shape[-2]]
    columns = [] if b.rank == 1 else [shape[-1]]
    return call.reshape(out, (*batch, *rows, *columns))


def fully_connected(call: Call, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """[..., K] with weights [M, K] -> [..., M]."""
    rows = x if x.rank > 1 else call.reshape(x, (1, *x.shape))
    bias = bias or lir.constant(np.zeros(weights.shape[0], np.float32))
    options: dict[str, Any] = {"fusedActivationFunction": 0, "keepNumDims": rows.rank > 2, "weightsFormat": 0}
    out = call.emit("FULLY_CONNECTED", [rows, weights, bias], (*rows.shape[:-1], weights.shape[0]), **options)
    return out if x.rank > 1 else call.reshape(out, out.shape[1:])


def _bias(call: Call, beta: float, columns: int) -> Tensor | None:
    """C as a bias vector, if it is one."""
    if not call.has(2) or beta == 0.0:
        return None
    c = call.input(2)
    if not c.is_constant or (c.rank == 2 and c.shape[0] != 1) or c.rank > 2:
        return None
    if beta == 1.0 and int(np.prod(c.shape)) == columns:
        return call.reshape(c, (columns,))
    row = np.broadcast_to(lir.real(c).reshape(-1) * np.float32(beta), (columns,))
    return lir.constant(row.astype(np.float32))


LOWERINGS = {"Gemm": gemm, "MatMul": matmul}
