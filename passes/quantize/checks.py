"""What cannot be quantized, and what cannot be calibrated with: told before any work is done."""

from collections.abc import Sequence
from pathlib import Path

from edgecut.frontends.data import Dataset
from edgecut.ir import annotations
from edgecut.ir.annotations import Quantization
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import split
from edgecut.passes.budget import Budget
from edgecut.passes.quantize import integers

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
    budget.check()


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
        ModelError: Too few samples to hold some out, or what `Budget.check_data` raises.
    """
    if hold_out and len(dataset) < split.EVERY:
        what = f"{len(dataset)} samples are too few to hold some out, which a budget is judged on"
        raise ModelError(what, where=str(path), hint=f"at least {split.EVERY}, better 100")
    budget.check_data(dataset, path, program)


def nothing(program: Program) -> ModelError:
    """The error for a program without anything to quantize."""
    what = "has nothing to quantize: no convolution or matrix product with (large enough) float weights"
    return ModelError(what, where=program.graph.name, hint="scheme=none")


def some(names: Sequence[str]) -> str:
    """The first name, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def _has_qdq(program: Program) -> bool:
    return any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in program.nodes)
