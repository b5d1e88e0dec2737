"""What replaces a QUANTIZE: the operator before it, on integers."""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgecut.targets.tflite.fuse import ACTIVATIONS, single
from edgecut.targets.tflite.lir import Op, Tensor
from edgecut.targets.tflite.quantize import arithmetic, functions, grids, joins, limits, means, weighted
from edgecut.targets.tflite.quantize.known import Known
from edgecut.targets.tflite.widths import Width


class Rule:
    """The rewriting rule for integers of one width."""

    def __init__(self, width: Width) -> None:
        self.known = Known(width)

    def __call__(self, op: Op, uses: Counter[Tensor], /) -> Tensor | None:
        """The replacement, or None where that stays in float."""
        x, dtype = op.inputs[0] if op.inputs else None, self.known.width.dtype
        if op.kind != "QUANTIZE" or op.output.dtype != dtype or x is None or x.dtype != np.float32:
            return None
        before, stored = single(x, uses), self.known.integers(x)
        if stored is not None:
            return grids.requantized(stored, op)
        return None if before is None else self._computed(before, op, uses)

    def _computed(self, before: Op, op: Op, uses: Counter[Tensor]) -> Tensor | None:
        known = self.known
        if before.kind in ("RESHAPE", "TRANSPOSE", "PADV2") or joins.is_crop(before, uses):
            return joins.rounded_first(before, op)
        if before.kind in ACTIVATIONS:
            return limits.clamped(known, before, op)
        if before.kind in grids.PLACES:
            return weighted.weighted(known, before, op)
        if before.kind in arithmetic.KINDS:
            return (
                arithmetic.scaled(known, before, op, uses)
                or functions.nudged(known, before, op, uses)
                or arithmetic.arithmetic(known, before, op)
            )
        if before.kind == "CONCATENATION":
            return joins.joined(known, before, op)
        if before.kind in ("MEAN", "AVERAGE_POOL_2D"):
            return means.mean(known, before, op)
        if before.kind == "LEAKY_RELU" or before.kind in known.width.fixed:
            return functions.function(known, before, op)
        if before.kind == "RESIZE_BILINEAR":
            return functions.resized(known, before, op)
        return None
