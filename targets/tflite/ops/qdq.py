"""QuantizeLinear and DequantizeLinear: the scales go on the integer tensor, where TFLite keeps them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as oir

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Quant, Tensor
from edgecut.targets.tflite.ops.base import BOOL, FLOAT, Call
from edgecut.targets.tflite.ops.reduce import total

STORED = ("int8", "uint8", "int16", "int32")
PLAIN = ("int8", "uint8", "int16", "uint16")
"""What plain arithmetic can round to, and read."""
_FOUR_BITS = ("int4", "uint4")


def quantize(call: Call) -> Tensor:
    """float32 -> integers, one scale for all."""
    call.float_only()
    x, dtype = call.input(0), _dtype(call)
    if call.known(1) is None or (call.has(2) and call.known(2) is None):
        return _quantize_by_computed(call, x, dtype)
    call.need(dtype.name in PLAIN, f"to {dtype}")
    quant = None if call.attribute("block_size", 0) else _quant(call)
    if quant is None or not _has_kernel(quant, dtype):
        return _rounded(call, x, *_along(call), dtype)
    out = call.emit("QUANTIZE", [x], x.shape, dtype)
    out.quant = quant
    return out


def _has_kernel(quant: Quant, dtype: np.dtype[np.generic]) -> bool:
    """Whether kernels take integers of such a grid; any other is plain arithmetic."""
    return quant.per_tensor and dtype.name in STORED[:3] and (dtype != np.int16 or int(quant.zero[0]) == 0)


def _quantize_by_computed(call: Call, x: Tensor, dtype: np.dtype[np.generic]) -> Tensor:
    """A scale that follows from the data, as dynamic quantization has it."""
    scale = call.input(1)
    call.need(dtype.name in STORED[:2] and int(np.prod(scale.shape)) == 1, "scales that are computed")
    zero = call.cast(call.reshape(call.input(2), ()), FLOAT) if call.has(2) else call.scalar(0.0)
    return _rounded(call, x, call.reshape(scale, ()), zero, dtype)


def quantize_dynamically(call: Call) -> Sequence[Tensor]:
    """float32 -> uint8 by the range of the numbers and zero; scale and zero point are further results."""
    call.float_only()
    x, nothing = call.input(0), call.scalar(0.0)
    axes = list(range(x.rank))
    low = call.binary("MINIMUM", total(call, "REDUCE_MIN", x, axes, False), nothing)
    high = call.binary("MAXIMUM", total(call, "REDUCE_MAX", x, axes, False), nothing)
    span = call.binary("SUB", high, low)
    # Of zeros alone: 1, as in ONNX Runtime.
    empty = call.binary("EQUAL", span, nothing, BOOL)
    steps = [empty, call.scalar(1.0), call.binary("DIV", span, call.scalar(255.0))]
    scale = call.emit("SELECT_V2", steps, (), FLOAT)
    zero = call.unary("ROUND", call.binary("DIV", call.unary("NEG", low), scale))
    stored = _rounded(call, x, scale, zero, np.dtype(np.uint8))
    return [stored, scale, call.cast(zero, np.uint8)]


def dequantize(call: Call) -> Tensor:
    """Integers -> float32; a constant stays as it is stored, with its scales."""
    x = call.input(0)
    quant = None if call.attribute("block_size", 0) else _quant(call)
    if x.is_constant and x.data is not None:
        return _constant(call, x.data, quant)
    call.need(x.dtype.name in (*PLAIN, "int32"), f"from {x.dtype}")
    if quant is None or not _has_kernel(quant, x.dtype):
        scale, zero = _along(call)
        plain = call.cast(x, FLOAT)
        return call.binary("MUL", call.binary("SUB", plain, zero) if lir.real(zero).any() else plain, scale)
    return call.emit("DEQUANTIZE", [call.on_grid(x, quant)], x.shape, FLOAT)


def _constant(call: Call, data: Array, quant: Quant | None) -> Tensor:
    if quant is not None and data.dtype.name in STORED:
        return lir.constant(data, quant)
    if quant is not None and data.dtype.name in _FOUR_BITS:
        return lir.constant(data.astype(np.int8), quant)
    scale, zero = (lir.real(t) for t in _along(call))
    return lir.constant((data.astype(np.float32) - zero) * scale)


def _rounded(call: Call, x: Tensor, scale: Tensor, zero: Tensor, dtype: np.dtype[np.generic]) -> Tensor:
    limits = np.iinfo(dtype.name)
    rounded = call.binary("ADD", call.unary("ROUND", call.binary("DIV", x, scale)), zero)
    low, high = call.scalar(float(limits.min)), call.scalar(float(limits.max))
    return call.cast(call.binary("MINIMUM", call.binary("MAXIMUM", rounded, low), high), dtype)


def _along(call: Call) -> tuple[Tensor, Tensor]:
    """Scales and zero points in shapes that broadcast: one for all, for each slice, or for each block."""
    x, scale, zero = call.input(0), call.constant(1, "scale"), call.known(2)
    call.need(zero is not None or not call.has(2), "zero point is not constant")
    block, rank = int(call.attribute("block_size", 0)), x.rank
    axis = call.axis(int(call.attribute("axis", 1)), rank) if scale.size > 1 or block else 0
    grids = []
    for numbers in (scale, np.zeros(scale.shape) if zero is None else zero):
        wide = numbers.astype(np.float32)
        if block:
            wide = np.repeat(wide, block, axis).take(range(x.shape[axis]), axis)
        else:
            wide = wide.reshape([-1 if i == axis else 1 for i in range(rank)] if wide.size > 1 else ())
        grids.append(lir.constant(wide))
    return grids[0], grids[1]


def _quant(call: Call) -> Quant:
    scale = np.atleast_1d(call.constant(1, "scale")).astype(np.float32)
    zero = call.known(2)
    call.need(zero is not None or not call.has(2), "zero point is not constant")
    zeros = np.zeros(scale.shape, np.int64) if zero is None else np.atleast_1d(zero).astype(np.int64)
    axis = int(call.attribute("axis", 1))
    rank = call.input(0).rank
    return Quant(scale, zeros, call.axis(axis, rank) if scale.size > 1 else 0)


def _dtype(call: Call) -> np.dtype[np.generic]:
    if call.has(2):
        return call.input(2).dtype
    stored = call.attribute("output_dtype", 0) or oir.DataType.UINT8.value
    return np.dtype(oir.DataType(stored).numpy())


LOWERINGS = {
    "QuantizeLinear": quantize,
    "DynamicQuantizeLinear": quantize_dynamically,
    "DequantizeLinear": dequantize,
}
