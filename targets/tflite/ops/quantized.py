"""Operators on integers with their scales beside them (QLinearConv and the like), as their QDQ form."""

from __future__ import annotations

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Quant, Tensor
from edgecut.targets.tflite.ops.base import FLOAT, INT32, Call
from edgecut.targets.tflite.ops.conv import convolution
from edgecut.targets.tflite.ops.matmul import product

STORED = ("int8", "uint8")
_WHOLE = 1 << 24
"""Up to here float32 holds all whole numbers."""


def qlinear_conv(call: Call) -> Tensor:
    """x, its scale and zero point, the same of the weights, those of the result, and an int32 bias."""
    x, weights = _numbers(call, 0, axis=1), _numbers(call, 3, axis=0)
    bias = None
    if call.has(8):
        scale = _scale(call, 1) * _scale(call, 4)
        numbers = call.constant(8, "bias")
        axis_scales = np.broadcast_to(scale, numbers.shape).astype(np.float32)
        bias = lir.constant(numbers.astype(np.int32), Quant(axis_scales, np.zeros(numbers.shape, np.int64)))
    return _quantized(call, convolution(call, x, weights, bias), 6)


def qlinear_matmul(call: Call) -> Tensor:
    """a, b and the result, each with scale and zero point."""
    right = call.input(3)
    made = product(call, _numbers(call, 0, axis=0), _numbers(call, 3, axis=max(right.rank - 1, 0)))
    return _quantized(call, made, 6)


def matmul_integer(call: Call) -> Tensor:
    """Integers less their zero points, multiplied: exact in float32 while sums stay below 2^24."""
    a, b = (_shifted(call, i, 2 + i) for i in (0, 1))
    depth = a.shape[-1] if a.rank else 1
    parts = next(n for n in range(1, depth + 1) if _is_exact(b, -(-depth // n)))
    if parts == 1:
        return call.cast(product(call, a, b), INT32)
    call.need(b.rank == 2 and a.rank > 1, f"sums of {depth} products, which float32 does not hold")
    return _in_parts(call, a, b, -(-depth // parts))


def _is_exact(weights: Tensor, depth: int) -> bool:
    """Whether float32 holds all sums of so many products with bytes."""
    if weights.data is None or weights.rank != 2:
        return depth * 255 * 255 < _WHOLE
    sizes = np.abs(lir.real(weights))
    starts = range(0, len(sizes), depth)
    return max(float(sizes[i : i + depth].sum(0).max()) for i in starts) * 255 < _WHOLE


def _in_parts(call: Call, a: Tensor, b: Tensor, depth: int) -> Tensor:
    """The product of ``depth`` columns with as many rows at a time, added as integers."""
    found: Tensor | None = None
    for start in range(0, a.shape[-1], depth):
        size = min(depth, a.shape[-1] - start)
        left = _cut(call, a, a.rank - 1, start, size)
        made = call.cast(product(call, left, _cut(call, b, 0, start, size)), INT32)
        found = made if found is None else call.binary("ADD", found, made)
    assert found is not None
    return found


def _cut(call: Call, x: Tensor, axis: int, start: int, size: int) -> Tensor:
    if x.data is not None:
        return lir.constant(x.data.take(range(start, start + size), axis), x.quant)
    begin, shape = [0] * x.rank, list(x.shape)
    begin[axis], shape[axis] = start, size
    return call.emit("SLICE", [x, lir.integers(begin), lir.integers(shape)], shape)


def conv_integer(call: Call) -> Tensor:
    """The same as a convolution."""
    x, weights = (_shifted(call, i, 2 + i) for i in (0, 1))
    longest = int(np.prod(weights.shape[1:]))
    largest = float(longest * 255)
    if weights.is_constant:
        largest = float(np.abs(lir.real(weights)).reshape(weights.shape[0], -1).sum(1).max())
    call.need(largest * 255 < _WHOLE, f"sums of {longest} products, which float32 does not hold")
    return call.cast(convolution(call, x, weights, None), INT32)


def _scale(call: Call, index: int) -> lir.Array:
    return np.atleast_1d(call.constant(index, "scale")).astype(np.float32).ravel()


def _quant(call: Call, index: int, axis: int) -> Quant:
    scale = _scale(call, index)
    zero = np.atleast_1d(call.constant(index + 1, "zero point")).astype(np.int64).ravel()
    return Quant(scale, np.broadcast_to(zero, scale.shape), axis if scale.size > 1 else 0)


def _numbers(call: Call, index: int, axis: int) -> Tensor:
    """Dequantized: a constant stays as it is stored."""
    tensor, quant = call.input(index), _quant(call, index + 1, axis)
    call.need(tensor.dtype.name in STORED, f"from {tensor.dtype}")
    if tensor.data is not None:
        return lir.constant(tensor.data, quant)
    call.need(quant.per_tensor, "one scale per channel, of a tensor that is computed")
    return call.emit("DEQUANTIZE", [call.on_grid(tensor, quant)], tensor.shape, FLOAT)


def _quantized(call: Call, tensor: Tensor, index: int) -> Tensor:
    dtype = call.input(index + 1).dtype
    call.need(dtype.name in STORED, f"to {dtype}")
    quant = _quant(call, index, 0)
    call.need(quant.per_tensor, "one scale per channel, of a tensor that is computed")
    out = call.emit("QUANTIZE", [tensor], tensor.shape, dtype)
    out.quant = quant
    return out


def _shifted(call: Call, index: int, zero: int) -> Tensor:
    """Integers less their zero points; constants stay as they are stored."""
    tensor = call.input(index)
    call.need(tensor.dtype.name in STORED, f"from {tensor.dtype}")
    if call.has(zero) and call.known(zero) is None:
        point = call.input(zero)
        call.need(int(np.prod(point.shape)) == 1, "one zero point per row or column")
        return call.binary("SUB", call.cast(tensor, FLOAT), call.cast(call.reshape(point, ()), FLOAT))
    points = call.constant(zero, "zero point") if call.has(zero) else np.zeros(1, tensor.dtype)
    call.need(points.size == 1 or (tensor.is_constant and index == 1), "one zero point per row or column")
    if tensor.data is not None:
        axis = 0 if call.kind == "ConvInteger" else tensor.rank - 1
        return _constant(tensor.data, points.ravel(), axis)
    number = float(points.ravel()[0])
    plain = call.cast(tensor, FLOAT)
    return call.binary("SUB", plain, call.scalar(number)) if number else plain


def _constant(data: lir.Array, points: lir.Array, axis: int) -> Tensor:
    moved = 128 if data.dtype == np.uint8 else 0
    signed = (data.astype(np.int16) - moved).astype(np.int8)
    points = points[:1] if (points == points[0]).all() else points
    zeros = points.astype(np.int64) - moved
    return lir.constant(signed, Quant(np.ones(zeros.shape, np.float32), zeros, axis if zeros.size > 1 else 0))


LOWERINGS = {
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "MatMulInteger": matmul_integer,
    "ConvInteger": conv_integer,
}
