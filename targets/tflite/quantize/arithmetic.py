"""Sums, differences and products on integers."""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgecut.targets.tflite import lir, relabel
from edgecut.targets.tflite.fuse import single
from edgecut.targets.tflite.lir import Op, Quant, Tensor
from edgecut.targets.tflite.quantize import grids
from edgecut.targets.tflite.quantize.known import Known

KINDS = ("ADD", "SUB", "MUL")


def arithmetic(known: Known, before: Op, op: Op) -> Tensor | None:
    """Sums, differences and products."""
    operands = [_operand(known, grids.given(before, i)) for i in (0, 1)]
    if any(t is None for t in operands):
        return None
    options = known.width.options(before.kind)
    return grids.converted(before, list(operands), grids.quant_of(op), before.sources | op.sources, options)


def scaled(known: Known, before: Op, op: Op, uses: Counter[Tensor]) -> Tensor | None:
    """A sum or product times a constant: without the constant, at a scale divided by it."""
    left, right = before.inputs[:2]
    if before.kind != "MUL" or before.options.get("fusedActivationFunction"):
        return None
    if left is not None and left.is_constant:
        left, right = right, left
    inner = single(left, uses)
    if inner is None or inner.kind not in KINDS or right is None or not grids.is_number(right):
        return None
    quant, factor = grids.quant_of(op), float(lir.real(right).ravel()[0])
    operands = [_operand(known, grids.given(inner, i)) for i in (0, 1)]
    if factor <= 0 or before.output.shape != inner.output.shape or any(t is None for t in operands):
        return None
    sources = inner.sources | before.sources | op.sources
    held = Quant((quant.scale / np.float32(factor)).astype(np.float32), quant.zero)
    made = grids.converted(inner, list(operands), held, sources, known.width.options(inner.kind))
    return relabel.relabel(made, quant, sources)


def _operand(known: Known, tensor: Tensor) -> Tensor | None:
    """An operand as integers; a single number is quantized with a scale that makes it exact."""
    if not grids.is_number(tensor):
        return known.integers(tensor)
    assert tensor.data is not None
    number = float(tensor.data.ravel()[0])
    scale = np.float32(abs(number) / known.width.most or 1.0)
    data = np.full(tensor.shape, int(np.sign(number)) * known.width.most, known.width.dtype)
    return lir.constant(data, Quant(np.array([scale], np.float32), np.zeros(1, np.int64)))
