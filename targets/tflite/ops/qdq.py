"""QuantizeLinear and DequantizeLinear: the scales go on the integer tensor, where TFLite keeps them."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Quant, Tensor
from edgecut.targets.tflite.ops.base import FLOAT, Call

STORED = ("int8", "uint8", "int16", "int32")


def quantize(call: Call) -> Tensor:
    """float32 -> integers, one scale for all."""
    call.float_only()
    x, dtype = call.input(0), _dtype(call)
    if call.known(1) is None or (call.has(2) and call.known(2) is None):
        return _quantize_by_computed(call, x, dtype)
    quant = _quant(call)
    if not quant.per_tensor and dtype.name in STORED[:2]:
        return _quantize_rows(call, x, quant, dtype)
    call.need(quant.per_tensor, "one scale per channel, of a tensor that is computed")
    call.need(dtype.name in STORED[:3], f"to {dtype}")
    call.need(dtype != np.int16 or int(quant.zero[0]) == 0, "16 bits with a zero point")
    out = call.emit("QUANTIZE", [x], x.shape, dtype)
    out.quant = quant
    return out


def _quantize_by_computed(call: Call, x: Tensor, dtype: np.dtype[np.generic]) -> Tensor:
    """A scale that follows from the data, as dynamic quantization has it."""
    scale = call.input(1)
    call.need(dtype.name in STORED[:2] and int(np.prod(scale.shape)) == 1, "scales that are computed")
    zero = call.cast(call.reshape(call.input(2), ()), FLOAT) if call.has(2) else call.scalar(0.0)
    return _rounded(call, x, call.reshape(scale, ()), zero, dtype)


def dequantize(call: Call) -> Tensor:
    """Integers -> float32; a constant stays as it is stored, with its scales."""
    x, quant = call.input(0), _quant(call)
    call.need(x.dtype.name in STORED or (x.is_constant and x.dtype.name == "int4"), f"from {x.dtype}")
    if x.is_constant and x.data is not None:
        return lir.constant(x.data.astype(np.int8) if x.dtype.name == "int4" else x.data, quant)
    if not quant.per_tensor or x.dtype == np.int32:
        return _dequantize_rows(call, x, quant)
    call.need(x.dtype != np.int16 or int(quant.zero[0]) == 0, "16 bits with a zero point")
    call.need(x.quant is None or x.quant.same(quant), "its scale is not the one that made the integers")
    x.quant = quant
    return call.emit("DEQUANTIZE", [x], x.shape, FLOAT)


def _quantize_rows(call: Call, x: Tensor, quant: Quant, dtype: np.dtype[np.generic]) -> Tensor:
    """One scale per channel, which no kernel has, in plain arithmetic."""
    return _rounded(call, x, *_along(x, quant), dtype)


def _rounded(call: Call, x: Tensor, scale: Tensor, zero: Tensor, dtype: np.dtype[np.generic]) -> Tensor:
    limits = np.iinfo(dtype.name)
    rounded = call.binary("ADD", call.unary("ROUND", call.binary("DIV", x, scale)), zero)
    low, high = call.scalar(float(limits.min)), call.scalar(float(limits.max))
    return call.cast(call.binary("MINIMUM", call.binary("MAXIMUM", rounded, low), high), dtype)


def _dequantize_rows(call: Call, x: Tensor, quant: Quant) -> Tensor:
    scale, zero = _along(x, quant)
    plain = call.cast(x, FLOAT)
    return call.binary("MUL", call.binary("SUB", plain, zero) if quant.zero.any() else plain, scale)


def _along(x: Tensor, quant: Quant) -> tuple[Tensor, Tensor]:
    shape = [-1 if i == quant.axis and not quant.per_tensor else 1 for i in range(x.rank)]
    return lir.constant(quant.scale.reshape(shape)), lir.constant(
        quant.zero.astype(np.float32).reshape(shape)
    )


def _quant(call: Call) -> Quant:
    scale = np.atleast_1d(call.constant(1, "scale")).astype(np.float32)
    zero = call.known(2)
    call.need(zero is not None or not call.has(2), "zero point is not constant")
    zeros = np.zeros(scale.shape, np.int64) if zero is None else np.atleast_1d(zero).astype(np.int64)
    call.need(scale.ndim == 1 and not call.attribute("block_size", 0), "one scale per block")
    axis = int(call.attribute("axis", 1))
    rank = call.input(0).rank
    return Quant(scale, zeros, call.axis(axis, rank) if scale.size > 1 else 0)


def _dtype(call: Call) -> np.dtype[np.generic]:
    if call.has(2):
        return call.input(2).dtype
    stored = call.attribute("output_dtype", 0) or oir.DataType.UINT8.value
    return np.dtype(oir.DataType(stored).numpy())


LOWERINGS = {"QuantizeLinear": quantize, "DequantizeLinear": dequantize}
