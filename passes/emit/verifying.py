"""Runs what was emitted beside ONNX Runtime, group by group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgecut.ir.annotations import Cut
from edgecut.ir.errors import CheckError
from edgecut.ir.program import Program


def worst(program: Program, cuts: Sequence[Cut], data: Path | None = None) -> float:
    """The largest difference of any group that runs on the edge under one of the cuts.

    Args:
        program: The whole program.
        cuts: Which of its groups.
        data: Inputs to verify with, of which one sample is taken; seeded noise if none.

    Raises:
        CheckError: A group differs by more than its limit.
    """
    from edgecut.targets.tflite import verify

    inputs = verify.noise(program) if data is None else _sample(data, program)
    found = 0.0
    for cut in cuts:
        for check in verify.groups(program, cut, inputs):
            found = max(found, check.error)
            if not check.ok:
                hint = f"its nodes: {', '.join(check.nodes)}"
                what = f"LiteRT and ONNX Runtime differ by {check.text} (limit {check.limit})"
                raise CheckError(what, where=check.value, hint=hint)
    return round(found, 9)


def _sample(path: Path, program: Program) -> dict[str, Any]:
    from edgecut.frontends import data

    dataset = data.load(path, program.inputs, limit=1)
    return next(iter(dataset))
