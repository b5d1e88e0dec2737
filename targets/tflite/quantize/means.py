"""Means on integers."""

from __future__ import annotations

import numpy as np

from edgecut.targets.tflite import lir, widths
from edgecut.targets.tflite.lir import Op, Quant, Tensor
from edgecut.targets.tflite.ops.window import VALID
from edgecut.targets.tflite.quantize import grids
from edgecut.targets.tflite.quantize.known import Known
from edgecut.targets.tflite.widths import INT16


def mean(known: Known, before: Op, op: Op) -> Tensor | None:
    """The mean over a whole image, or over windows: by the kernels that rescale."""
    x = grids.given(before, 0)
    stored = known.integers(x)
    if stored is None:
        return None
    sources = before.sources | op.sources
    if before.kind == "MEAN":
        return grids.converted(before, [stored, before.inputs[1]], grids.quant_of(op), sources)
    options = before.options
    if options["padding"] != VALID or options["fusedActivationFunction"]:
        return None
    if (options["filterHeight"], options["filterWidth"]) != x.shape[1:3]:
        return _averaged(known, before, stored, grids.quant_of(op), sources)
    inputs = [stored, lir.integers((1, 2))]
    (out,) = lir.emit("MEAN", inputs, [before.output.shape], [stored.dtype], sources, {"keepDims": True})
    out.quant = grids.quant_of(op)
    return out


def _averaged(known: Known, pool: Op, x: Tensor, quant: Quant, sources: frozenset[str]) -> Tensor:
    """Windows: as a depthwise sum, whose kernel is fast on 8 bits and may change the scale."""
    if known.width is INT16 and quant.same(x.quant):
        return grids.converted(pool, [x], quant, sources)
    made, inputs = _summing(pool, x)
    if known.width is INT16:
        weights, bias = inputs[1:]
        assert weights is not None
        assert bias is not None
        inputs[2], _ = widths.accumulator(made.kind, x, weights, bias)
    return grids.converted(made, inputs, quant, sources)


def _summing(pool: Op, x: Tensor) -> tuple[Op, list[Tensor | None]]:
    """An average pool as a depthwise sum: the operator, and what it reads."""
    assert x.quant is not None
    options, channels = pool.options, x.shape[3]
    kernel = options["filterHeight"], options["filterWidth"]
    share = np.array([1 / (kernel[0] * kernel[1])], np.float32)
    zeros = np.zeros(1, np.int64)
    ones = lir.constant(np.ones((1, *kernel, channels), np.int8), Quant(share, zeros))
    bias = lir.constant(np.zeros(channels, np.int32), Quant(x.quant.scale * share, zeros))
    made = {
        "padding": options["padding"], "fusedActivationFunction": 0, "depthMultiplier": 1,
        "strideH": options["strideH"], "strideW": options["strideW"],
        "dilationHFactor": 1, "dilationWFactor": 1,
    }  # fmt: skip
    return Op("DEPTHWISE_CONV_2D", [], [pool.output], made, pool.sources), [x, ones, bias]
