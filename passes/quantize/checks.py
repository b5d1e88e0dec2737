"""What cannot be quantized, and what cannot be calibrated with: told before any work is done."""

import sys
from collections.abc import Sequence
from pathlib import Path

from edgecut.frontends.data import Dataset
from edgecut.ir import annotations
from edgecut.ir.annotations import Quantization
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import numerics, split
from edgecut.passes.quantize import integers
from edgecut.passes.quantize.budget import Budget

# The first operator sets with a scale per channel, and with integers of 4 and 16 bits.
_OPSET = 13
_OPSETS = {"int16x8": 21, "int4-weights": 21}


def options(
    scheme: str, calibration: Path | None, samples: int | None, percentile: float, budget: Budget
) -> None:
    """Refuse options that make no sense.

    Raises:
        UsageError: Always that.
    """
    data = "--calibration DATA: real inputs of the model"
    if calibration is None and scheme in integers.SCHEMES:
        raise UsageError("quantize needs calibration data", hint=data)
    if calibration is None and budget:
        raise UsageError("an accuracy budget is judged on data", hint=data)
    if not 50 < percentile <= 100:
        raise UsageError(f"percentile is {percentile}", hint="above 50, at most 100")
    if samples is not None and samples < 1:
        raise UsageError(f"samples is {samples}", hint="at least 1")
    limits(budget)


def limits(budget: Budget) -> None:
    """Refuse limits that no model is within, or any is.

    Raises:
        UsageError: One of them is NaN, infinite or out of its range.
    """
    ranges = {
        "min_agreement": (0.0, 1.0, "a share: 0.99 for 99 %"),
        "max_accuracy_drop": (0.0, 100.0, "points, 0 to 100"),
        "min_sqnr": (-sys.float_info.max, sys.float_info.max, "dB, such as 30"),
    }
    for name, (least, most, hint) in ranges.items():
        limit = getattr(budget, name)
        if limit is not None and not least <= limit <= most:
            raise UsageError(f"{name} is {limit}", hint=hint)


def program(program: Program, scheme: str, keep: Sequence[str]) -> None:
    """Refuse a program that is quantized already, or lacks what the options name.

    Raises:
        ModelError: It cannot be quantized.
        UsageError: ``keep`` names a node that is not there.
    """
    name = program.graph.name
    if annotations.get(program.model, Quantization) or _has_qdq(program):
        raise ModelError("is quantized already", where=name, hint="start from the float model")
    opset = _OPSETS.get(scheme, _OPSET)
    if program.graph.opset_imports.get("", 0) < opset:
        raise ModelError(f"{scheme} needs opset {opset} or newer", where=name, hint="import it first")
    unknown = sorted(set(keep) - {n.name for n in program.nodes})
    if unknown:
        hint = "edgecut show lists them"
        raise UsageError(f"no node named {unknown[0]!r}", where="quantize{keep}", hint=hint)


def dataset(dataset: Dataset, path: Path, budget: Budget, program: Program, *, hold_out: bool) -> None:
    """Refuse data that a budget cannot be judged on.

    Raises:
        ModelError: Too few samples to hold some out, or what `judged` raises.
    """
    if hold_out and len(dataset) < split.EVERY:
        what = f"{len(dataset)} samples are too few to hold some out, which a budget is judged on"
        raise ModelError(what, where=str(path), hint=f"at least {split.EVERY}, better 100")
    judged(dataset, path, budget, program)


def judged(dataset: Dataset, path: Path, budget: Budget, program: Program) -> None:
    """Refuse data without the labels, or a program without the scores, that a budget is judged by.

    Raises:
        ModelError: There are none.
    """
    if budget.max_accuracy_drop is not None and dataset.labels is None:
        hint = "an array `labels`, labels.csv in a folder, or min_agreement instead"
        raise ModelError("has no labels, which max_accuracy_drop needs", where=str(path), hint=hint)
    classified = budget.max_accuracy_drop is not None or budget.min_agreement is not None
    if classified and numerics.classes(program) is None:
        what = "has no output of class scores [1, classes], by which top-1 is judged"
        raise ModelError(what, where=program.graph.name, hint="min_sqnr instead")


def nothing(program: Program) -> ModelError:
    """The error for a program without anything to quantize."""
    what = "has nothing to quantize: no convolution or matrix product with (large enough) float weights"
    return ModelError(what, where=program.graph.name, hint="scheme=none")


def some(names: Sequence[str]) -> str:
    """The first name, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def _has_qdq(program: Program) -> bool:
    return any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in program.nodes)
