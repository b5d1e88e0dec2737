"""Activations on integers."""

from __future__ import annotations

import numpy as np

from edgecut.targets.tflite import lir, relabel
from edgecut.targets.tflite.fuse import ACTIVATIONS
from edgecut.targets.tflite.lir import Op, Quant, Tensor
from edgecut.targets.tflite.quantize import grids
from edgecut.targets.tflite.quantize.known import Known


def clamped(known: Known, before: Op, op: Op) -> Tensor | None:
    """An activation: a change of scale where its limits are those of the range anyway.

    Else it is applied by a product with one, since there is no fast kernel for it alone.
    """
    quant = grids.quant_of(op)
    stored, saturates = known.integers(grids.given(before, 0)), _saturates(known, before, quant)
    if stored is None:
        # What is made in float may yet find its kernel, once the activation is out of the way.
        return (
            lir.like(op, [before.inputs[0]], sources=op.sources | before.sources).output
            if saturates
            else None
        )
    if saturates:
        return grids.requantized(stored, op, before.sources)
    return relabel.product(stored, 1.0, quant, before.sources | op.sources, ACTIVATIONS[before.kind])


def _saturates(known: Known, before: Op, quant: Quant) -> bool:
    """Whether integers saturate where an activation would limit."""
    low = float((-known.width.most - 1 - quant.zero[0]) * quant.scale[0])
    high = float((known.width.most - quant.zero[0]) * quant.scale[0])
    least = -1.0 if before.kind == "RELU_N1_TO_1" else 0.0
    most = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0}.get(before.kind, np.inf)
    half = float(quant.scale[0]) / 2
    return low > least - half and high < most + half
