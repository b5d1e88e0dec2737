"""Functions and interpolation on integers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from edgecut.targets.tflite import interpolation, leaky, lir
from edgecut.targets.tflite.fuse import single
from edgecut.targets.tflite.lir import Op, Quant, Tensor
from edgecut.targets.tflite.quantize import grids
from edgecut.targets.tflite.quantize.known import Known
from edgecut.targets.tflite.widths import INT16


def function(known: Known, before: Op, op: Op, more: frozenset[str] = frozenset()) -> Tensor | None:
    """Functions with an integer kernel, if the program's output scale is the kernel's."""
    stored, quant = known.integers(grids.given(before, 0)), grids.quant_of(op)
    fixed = known.width.fixed.get(before.kind)
    if fixed is not None and (abs(quant.scale[0] / fixed[0] - 1) > 1e-6 or quant.zero[0] != fixed[1]):
        return None
    if stored is None:
        return None
    return grids.converted(before, [stored], quant, before.sources | op.sources | more)


def resized(known: Known, before: Op, op: Op, more: frozenset[str] = frozenset()) -> Tensor | None:
    """Interpolation keeps the scale; only where the program keeps it, since it rounds."""
    stored = known.integers(grids.given(before, 0))
    if stored is None or known.width is INT16 or not grids.quant_of(op).same(stored.quant):
        return None
    return grids.converted(
        before, [stored, before.inputs[1]], grids.quant_of(op), before.sources | op.sources | more
    )


def nudged(known: Known, before: Op, op: Op, uses: Counter[Tensor]) -> Tensor | None:
    """Kernels that round halves upwards, which the program says by adding less than a part of a step."""
    x, step = before.inputs[:2]
    inner = single(x, uses)
    if inner is None or before.kind != "ADD" or before.options.get("fusedActivationFunction"):
        return None
    if op.output.dtype != np.int8:
        return None
    count = _parts(known, inner, grids.quant_of(op))
    if count is None or step is None or not grids.is_number(step):
        return None
    share = float(lir.real(step).ravel()[0]) / float(grids.quant_of(op).scale[0])
    if not 0 < share < 1 / count:
        return None
    make = resized if inner.kind == "RESIZE_BILINEAR" else function
    return make(known, inner, op, before.sources)


def _parts(known: Known, op: Op, quant: Quant) -> int | None:
    """In which parts of a step a kernel computes, before it rounds halves upwards."""
    x = grids.given(op, 0)
    if op.kind == "RESIZE_BILINEAR":
        count = interpolation.parts(x.shape[1:3], op.output.shape[1:3], _coordinates(op.options))
        return count if interpolation.exact(count) else None
    stored = known.integers(x) if op.kind == "LEAKY_RELU" else None
    if stored is None or stored.quant is None:
        return None
    ratio = float(stored.quant.scale[0]) / float(quant.scale[0])
    return leaky.PARTS if leaky.exact(ratio, op.options["alpha"]) else None


def _coordinates(options: dict[str, Any]) -> str:
    """What RESIZE_BILINEAR does, as ONNX calls it."""
    if options["alignCorners"]:
        return "align_corners"
    return "half_pixel" if options["halfPixelCenters"] else "asymmetric"
