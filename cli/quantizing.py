"""How a model is quantized, and what may be lost by it, as flags that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgecut.cli import sharing
from edgecut.cli.options import (
    BestEffort,
    Keep,
    MaxAccuracyDrop,
    Method,
    MinAgreement,
    MinSqnr,
    Ranges,
    Refine,
    Samples,
)

if TYPE_CHECKING:
    from edgecut.passes.recipes import Quantizing

FLAGS: sharing.Flags = {
    "method": (Method, Ranges.auto),
    "samples": (Samples, None),
    "keep": (Keep, None),
    "max_accuracy_drop": (MaxAccuracyDrop, None),
    "min_sqnr": (MinSqnr, None),
    "min_agreement": (MinAgreement, None),
    "best_effort": (BestEffort, False),
    "refine": (Refine, False),
}


def _made(given: dict[str, Any]) -> Quantizing:
    from edgecut.passes.recipes import Quantizing

    return Quantizing(**{**given, "method": given["method"].value, "keep": tuple(given["keep"] or ())})


takes = sharing.adds("quantizing", FLAGS, _made)
"""Gives a command these flags; it gets them as a `recipes.Quantizing` in its parameter ``quantizing``."""
