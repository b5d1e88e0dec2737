"""Convolutions and matrix products on integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecut.targets.tflite import lir, widths
from edgecut.targets.tflite.lir import Op, Quant, Tensor
from edgecut.targets.tflite.quantize import grids
from edgecut.targets.tflite.quantize.known import Known
from edgecut.targets.tflite.widths import INT16

_WEIGHT = np.dtype(np.int8)


def weighted(known: Known, before: Op, op: Op) -> Tensor | None:
    """A convolution or fully connected layer: weights as they are, bias in 32 bits."""
    data, at, last, channel = grids.PLACES[before.kind]
    x, weights = known.integers(grids.given(before, data)), grids.given(before, at)
    if x is None or x.quant is None or weights.quant is None or weights.dtype != _WEIGHT or x.is_constant:
        return None
    per_tensor = weights.quant.per_tensor
    if weights.quant.zero.any() or not (per_tensor or weights.quant.axis == channel):
        return None
    bias = _bias(before.inputs[last], x.quant, weights)
    if bias is None:
        return None
    inputs, options = list(before.inputs), dict[str, Any]()
    if known.width is INT16:
        bias, options = widths.accumulator(before.kind, x, weights, bias)
    inputs[data], inputs[at], inputs[last] = x, weights, bias
    return grids.converted(before, inputs, grids.quant_of(op), before.sources | op.sources, options)


def _bias(bias: Tensor | None, x: Quant, weights: Tensor) -> Tensor | None:
    """The bias in units of input scale times weight scale; None where that overflows 32 bits."""
    assert weights.quant is not None
    if bias is None or not bias.is_constant:
        return None
    scale = (x.scale[0] * weights.quant.scale).astype(np.float32)
    zero = np.zeros(scale.shape, np.int64)
    own = bias.quant
    kept = own is not None and bias.dtype == np.int32 and not own.zero.any()
    if kept and own is not None and np.allclose(np.broadcast_to(own.scale, scale.shape), scale, rtol=1e-5):
        return Tensor(bias.shape, bias.dtype, data=bias.data, quant=Quant(scale, zero))
    steps = np.rint(lir.real(bias).astype(np.float64) / scale)
    if np.abs(steps).max(initial=0) > np.iinfo(np.int32).max:
        return None
    return lir.constant(steps.astype(np.int32), Quant(scale, zero))
