"""Running pipelines: order, history, listeners, cache."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from edgecut.ir.annotations import History, get
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import depfile, listeners, pipeline
from edgecut.passes.base import Context, Pass, option

RUNS: list[str] = []


@dataclass(frozen=True)
class Rename(Pass):
    """Add a suffix to the graph's name."""

    name: ClassVar[str] = "rename"
    cacheable: ClassVar[bool] = True
    suffix: str = option("_new", help="what to add")
    data: Path | None = option(None, help="a file", file=True)

    def run(self, program: Program, context: Context) -> Program:
        RUNS.append(self.suffix)
        context.metrics["length"] = float(len(self.suffix))
        context.warn(f"renamed to {self.suffix}")
        program.graph.name = f"{program.graph.name}{self.suffix}"
        return program


@dataclass(frozen=True)
class Break(Pass):
    """Leave a broken program behind."""

    name: ClassVar[str] = "break"

    def run(self, program: Program, context: Context) -> Program:
        program.value("r1").shape = None
        return program


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGECUT_CACHE", str(tmp_path / "store"))
    RUNS.clear()


def test_passes_run_in_order_and_are_remembered(residual: Program) -> None:
    result = pipeline.run([Rename("_a"), Rename("_b")], residual, Context())
    assert result.graph.name == "residual_a_b"
    assert residual.graph.name == "residual"
    history = get(result.model, History)
    assert history is not None
    assert [s.text for s in history.steps] == ["rename{suffix=_a}", "rename{suffix=_b}"]
    assert history.steps[1].metrics == {"length": 2.0}


def test_nothing_is_run_again_that_has_not_changed(residual: Program) -> None:
    first = pipeline.run([Rename("_a"), Rename("_b")], residual, Context())
    again = pipeline.run([Rename("_a"), Rename("_b")], residual, Context())
    assert RUNS == ["_a", "_b"]
    assert again.fingerprint() == first.fingerprint()
    pipeline.run([Rename("_a"), Rename("_b")], residual, Context(), use_cache=False)
    assert RUNS == ["_a", "_b"] * 2


def test_what_was_warned_of_is_told_again_from_the_cache(residual: Program) -> None:
    told: list[str] = []
    for _ in range(2):
        pipeline.run([Rename("_a")], residual, Context(warn=told.append))
    assert RUNS == ["_a"]
    assert told == ["renamed to _a"] * 2


def test_another_model_option_or_file_content_is_no_hit(residual: Program, tmp_path: Path) -> None:
    data = tmp_path / "d"
    data.write_text("1")
    pipeline.run([Rename("_a", data)], residual, Context())
    data.write_text("2")
    pipeline.run([Rename("_a", data)], residual, Context())
    pipeline.run([Rename("_c", data)], residual, Context())
    other = residual.copy()
    other.graph.name = "other"
    assert pipeline.run([Rename("_a", data)], other, Context()).graph.name == "other_a"
    assert RUNS == ["_a", "_a", "_c", "_a"]


def test_a_damaged_cache_entry_is_made_again(residual: Program, tmp_path: Path) -> None:
    first = pipeline.run([Rename()], residual, Context())
    for path in (tmp_path / "store").rglob("*.onnx"):
        path.write_bytes(path.read_bytes()[:50])
    assert pipeline.run([Rename()], residual, Context()).fingerprint() == first.fingerprint()


def test_verify_each_names_the_pass_that_broke_the_program(residual: Program) -> None:
    with pytest.raises(ModelError, match="pass break left a broken program: r1"):
        pipeline.run([Rename(), Break(), Rename()], residual, Context(), [listeners.verify_each])
    assert len(RUNS) == 1


def test_an_error_is_noted_with_its_pass(residual: Program) -> None:
    with pytest.raises(ModelError) as error:
        pipeline.run([Break()], residual, Context(), [listeners.verify_each])
    assert error.value.__notes__ == ["in pass break"]


def test_listeners_time_print_and_save(residual: Program, tmp_path: Path) -> None:
    timing, out, passes = listeners.Timing(), io.StringIO(), [Rename("_a"), Rename("_b")]
    told: list[pipeline.Listener] = [
        timing,
        listeners.PrintAfter(["rename"], out, passes),
        listeners.SaveTemps(tmp_path / "ir"),
    ]
    pipeline.run(passes, residual, Context(), told)
    assert timing.table().count("rename") == 2
    assert "residual_a " in out.getvalue()
    assert "residual_a_b " in out.getvalue()
    saved = sorted((tmp_path / "ir").iterdir())
    assert [p.name for p in saved] == ["00-rename.onnx", "01-rename.onnx"]
    assert Program.load(saved[0]).graph.name == "residual_a"


def test_printing_after_a_pass_that_is_not_run_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="'simplfy' is not run here"):
        listeners.PrintAfter(["simplfy"], io.StringIO(), [Rename()])


def test_depfile_is_a_make_rule(tmp_path: Path) -> None:
    depfile.write(tmp_path / "d", Path("out.onnx"), [Rename("_a", Path("my data.npz"))])
    assert (tmp_path / "d").read_text() == "out.onnx: my\\ data.npz\n\nmy\\ data.npz:\n"
