"""Tensors that are joined on integers, and a QUANTIZE that goes before a join or a move."""

from __future__ import annotations

from collections import Counter

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.fuse import single
from edgecut.targets.tflite.lir import Op, Tensor
from edgecut.targets.tflite.quantize import grids
from edgecut.targets.tflite.quantize.known import Known


def joined(known: Known, before: Op, op: Op) -> Tensor | None:
    """A concatenation: every part takes the scale of the result first."""
    if all(t is not None and t.op is not None and t.op.kind == "TRANSPOSE_CONV" for t in before.inputs):
        return _rounded_parts(before, op)
    parts = [known.integers(t) for t in before.inputs if t is not None]
    stored = [t for t in parts if t is not None and t.quant is not None]
    if len(stored) < len(before.inputs):
        return None
    quant = grids.quant_of(op)
    return grids.converted(
        before, [grids.rescaled(t, quant, op.sources) for t in stored], quant, before.sources | op.sources
    )


def _rounded_parts(before: Op, op: Op) -> Tensor:
    """A QUANTIZE of each part before they are joined."""
    parts: list[Tensor | None] = []
    for part in before.inputs:
        assert part is not None
        quantize = lir.like(op, [part])
        quantize.output.shape = part.shape
        parts.append(quantize.output)
    return grids.converted(before, parts, grids.quant_of(op), before.sources)


def rounded_first(before: Op, op: Op) -> Tensor:
    """A QUANTIZE before the move that it follows."""
    x, more = grids.given(before, 0), list(before.inputs[1:])
    quantize = lir.like(op, [x])
    quantize.output.shape = x.shape
    if before.kind == "PADV2":
        more[1] = grids.constant(lir.real(grids.given(before, 2)), grids.quant_of(op), op.output.dtype)
    return grids.converted(before, [quantize.output, *more], grids.quant_of(op), before.sources)


def is_crop(op: Op, uses: Counter[Tensor]) -> bool:
    """Whether an operator only takes a part of what a transposed convolution makes."""
    inner = single(op.inputs[0], uses) if op.kind == "SLICE" else None
    return inner is not None and inner.kind == "TRANSPOSE_CONV"
