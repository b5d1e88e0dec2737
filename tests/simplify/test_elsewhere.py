"""IR files that come from another machine, where the store does not hold what they refer to."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecut.ir import store
from edgecut.ir.annotations import History, Reference, Step, get, put
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.simplify.importing import Import


def saved(program: Program, folder: Path, *steps: str) -> Path:
    put(program.model, Reference("0" * 64))
    put(program.model, History(tuple(Step(text, 1) for text in steps)))
    program.save(folder / "ir.onnx")
    return folder / "ir.onnx"


def test_a_program_that_nothing_changed_is_its_own_reference(residual: Program, tmp_path: Path) -> None:
    path = saved(residual, tmp_path, "simplify")
    found = get(Import(path).run(Program.empty(), Context()).model, Reference)
    assert found is not None
    assert store.has(found.key)


def test_a_quantized_one_is_read_with_a_warning(residual: Program, tmp_path: Path) -> None:
    warnings: list[str] = []
    path = saved(residual, tmp_path, "simplify", "quantize{calibration=d.npz}")
    program = Import(path).run(Program.empty(), Context(warn=warnings.append))
    assert get(program.model, Reference) == Reference("0" * 64)
    assert len(warnings) == 1
    with pytest.raises(Exception, match="import the original model again"):
        store.reference("0" * 64)
