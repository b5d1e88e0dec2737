"""Mixed precision keeps an accuracy budget with as few kernels in float as it can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.ir.annotations import Cost, Profile, Time, put
from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.numerics import compare
from edgecut.passes.quantize import mixed, region
from edgecut.passes.quantize.static import Quantize

Build = Callable[..., Program]
Save = Callable[..., Path]


@pytest.fixture
def fragile(build: Build) -> Program:
    """Three layers; what the second one makes has a range that 8 bits are far too few for."""
    rng = np.random.default_rng(0)
    huge = np.ones((1, 8, 1, 1), np.float32)
    huge[0, 0] = 3000
    text = """net (float[1,8,6,6] x) => (float[1,8,6,6] y)
    { a = Conv(x, wa)  b = Conv(a, wb)  c = Conv(b, wc)  y = Relu(c) }"""
    weights = {n: np.asarray(rng.standard_normal((8, 8, 1, 1)) / 3, np.float32) for n in ("wa", "wb", "wc")}
    weights["wb"] = weights["wb"] * huge.reshape(8, 1, 1, 1)
    weights["wc"] = weights["wc"] / huge
    return build(text, **weights)


@pytest.fixture
def path(save: Save) -> Path:
    return save(x=np.random.default_rng(1).standard_normal((16, 8, 6, 6)).astype(np.float32))


def run(program: Program, **options: Any) -> tuple[Program, Context]:
    context = Context()
    item = Quantize(**options)
    item.check_before(program)
    return item.run(program.copy(), context), context


def test_only_the_fragile_part_returns_to_float(fragile: Program, path: Path) -> None:
    _, plain = run(fragile, calibration=path)
    assert float(plain.metrics["sqnr_db"]) < 20
    found, context = run(fragile, calibration=path, min_sqnr=30.0, explain=True)
    unseen = [
        {"x": np.random.default_rng(2).standard_normal((1, 8, 6, 6)).astype(np.float32)} for _ in range(8)
    ]
    # 3 dB less than asked for: it was judged on four inputs, and these are others.
    assert compare(fragile, found, unseen).sqnr_db > 27
    assert 0 < float(context.metrics["float_nodes"]) < 4
    assert float(context.metrics["int8_nodes"]) > 0
    table = {k: str(v) for k, v in context.metrics.items() if k.startswith("node ")}
    assert len(table) == 3
    assert any(line.startswith("float") for line in table.values())


def test_a_budget_that_holds_costs_nothing(fragile: Program, path: Path) -> None:
    _, context = run(fragile, calibration=path, min_sqnr=-60.0)
    assert context.metrics["float_nodes"] == 0


def test_a_budget_that_cannot_hold_is_an_error_and_changes_nothing(fragile: Program, path: Path) -> None:
    before = fragile.bytes()
    with pytest.raises(ConstraintError, match="budget cannot be met"):
        run(fragile, calibration=path, min_agreement=1.0)
    assert fragile.bytes() == before


def test_best_effort_goes_on_and_says_so(fragile: Program, path: Path) -> None:
    said: list[str] = []
    context = Context(warn=said.append)
    item = Quantize(calibration=path, min_agreement=1.0, best_effort=True)
    item.run(fragile.copy(), context)
    assert any("cannot be met" in line for line in said)


def test_labels_set_the_budget(build: Build, save: Save) -> None:
    rng = np.random.default_rng(0)
    text = "net (float[1,16] x) => (float[1,4] y) { h = MatMul(x, wa)  r = Relu(h)  y = MatMul(r, wb) }"
    program = build(
        text, wa=rng.standard_normal((16, 16)).astype(np.float32), wb=rng.random((16, 4), np.float32)
    )
    path = save(x=rng.standard_normal((40, 16)).astype(np.float32), labels=rng.integers(0, 4, 40))
    _, context = run(program, calibration=path, max_accuracy_drop=20.0)
    assert "points lost" in str(context.metrics["quality"])
    assert context.metrics["judged_on"] == 10


def test_time_saved_follows_the_profile(fragile: Program) -> None:
    found = region.select(fragile)
    last = [chain[-1] for chain in found.chains]
    for node, seconds in zip(last, (1e-3, 2e-3, 4e-3), strict=True):
        put(node, Cost(edge=Time(seconds, "measured")))
    put(fragile.model, Profile("raspberrypi4", "local"))
    saved = list(mixed.saving(fragile, found).values())
    assert 0 < saved[0] < 1e-3
    assert saved[2] > saved[1] > saved[0]
