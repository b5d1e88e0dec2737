"""Plans that are made of measured cuts: with real runtimes, on the bundled network."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.ir import annotations
from edgecut.ir.annotations import Plan
from edgecut.ir.errors import TargetError
from edgecut.ir.program import Program
from edgecut.passes import pipeline, recipes
from edgecut.passes.base import Context
from edgecut.passes.partition import planning
from edgecut.passes.partition.cuts import to_placement
from edgecut.passes.partition.enumerate import placements
from edgecut.passes.partition.envelope import Piece, lower
from edgecut.passes.partition.partition import Partition


@pytest.fixture(scope="module")
def profiled(root: Path) -> Program:
    """The digits network with predicted costs of a much slower device."""
    front = recipes.Source(root / "fixtures" / "digits.onnx").front()
    profile = recipes.make("profile", edge="raspberrypi4", cloud="x86-vm")
    return pipeline.run([*front, profile], Program.empty(), Context(), use_cache=False)


def plan(program: Program, item: Partition) -> Plan:
    found = annotations.get(pipeline.run([item], program, Context()).model, Plan)
    assert found is not None
    return found


def test_figures_are_what_the_halves_take_and_the_order_follows_them(profiled: Program) -> None:
    item = Partition(network="ethernet", rtt_ms=0.0, edge="local", cloud="local", measure=True, runs=5)
    predicted, measured = plan(profiled, replace(item, measure=False)), plan(profiled, item)
    by_name = {figures.cut.name: figures for figures in measured.cuts}
    assert {"edge-only", "cloud-only"} <= set(by_name)
    assert by_name["edge-only"].cloud_s == 0
    assert by_name["cloud-only"].edge_s == 0
    assert by_name["edge-only"].edge_s > 0
    before = {figures.cut.name: figures for figures in predicted.cuts}
    assert by_name["edge-only"].edge_s != before["edge-only"].edge_s
    assert by_name["edge-only"].up_bytes == before["edge-only"].up_bytes
    assert measured.chosen.latency_s == min(figures.latency_s for figures in measured.cuts)
    assert {figures.measured for figures in measured.cuts} == {("edge", "cloud")}
    assert {figures.measured for figures in predicted.cuts} == {()}
    baselines = {b.name: b.latency_s for b in measured.baselines}
    assert baselines["edge-only"] == by_name["edge-only"].latency_s


def test_what_cannot_be_reached_keeps_its_prediction(profiled: Program) -> None:
    item = Partition(network="ethernet", cloud="local", measure=True, runs=5)
    predicted, measured = plan(profiled, replace(item, measure=False)), plan(profiled, item)
    seconds = [next(f.edge_s for f in p.cuts if f.cut.name == "edge-only") for p in (predicted, measured)]
    assert seconds[0] == seconds[1]
    assert measured.chosen.measured == ("cloud",)


def test_the_same_program_and_options_have_the_same_measured_figures(profiled: Program) -> None:
    item = Partition(network="ethernet", rtt_ms=0.0, edge="local", cloud="local", measure=True, runs=5)
    plans = []
    for use_cache in (True, True, False):
        made = pipeline.run([item], profiled, Context(), use_cache=use_cache)
        plans.append(annotations.require(made.model, Plan, ""))
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]


def test_nothing_at_hand_is_a_target_error(profiled: Program) -> None:
    with pytest.raises(TargetError, match="neither side is at hand"):
        plan(profiled, Partition(measure=True))


def test_a_cut_is_measured_once(profiled: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecut.passes.partition import measuring

    timed: list[str] = []
    real = measuring._edge

    def counted(program: Program, cuts: list[annotations.Cut], *rest: object) -> dict[int, float]:
        timed.extend(cut.name for cut in cuts)
        return real(program, cuts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring, "_edge", counted)
    item = Partition(network="ethernet", rtt_ms=0.0, edge="local", cloud="local", measure=True, runs=5)
    request = item.request(profiled)
    posed = planning.pose(profiled, request)
    found = measuring.Measured(posed, request, 5, 1)
    found.add([band.cloud for band in planning.offered(posed, request)], Context())
    found.refine(Context())
    found.refine(Context())
    assert len(timed) == len(set(timed)) == len(found.known)


def test_a_cut_that_was_predicted_far_too_dear_is_found_all_the_same(
    profiled: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides are truly a hundred times faster than predicted; the network is not."""
    from edgecut.passes.partition import measuring

    item = Partition(network="ethernet", rtt_ms=0.0, edge="local", cloud="local", measure=True, load=0.01)
    request = item.request(profiled)
    posed = planning.pose(profiled, request)

    def times(side: str) -> Any:
        def timed(program: Program, cuts: list[annotations.Cut], *rest: object) -> dict[int, float]:
            totals = [
                posed.problem.totals(to_placement(program, posed.problem, posed.members, c)) for c in cuts
            ]
            return {i: getattr(t, side) / 100 for i, t in enumerate(totals)}

        return timed

    monkeypatch.setattr(measuring, "_edge", times("edge_s"))
    monkeypatch.setattr(measuring, "_cloud", times("cloud_s"))
    found = measuring.Measured(posed, request, 5, 1)
    found.add([band.cloud for band in planning.offered(posed, request)], Context())
    for cloud in placements(posed.problem)[0]:
        believed, totals = found._corrected()(cloud), posed.problem.totals(cloud)
        assert believed.edge_s == pytest.approx(totals.edge_s / 100)
        assert believed.cloud_s == pytest.approx(totals.cloud_s / 100)
        assert believed.up_bytes == totals.up_bytes
    warned: list[str] = []
    found.refine(Context(warn=warned.append))
    best = min(found.known.values(), key=lambda known: request.price(known[1]))[1]
    everything = [posed.problem.totals(cloud) for cloud in placements(posed.problem)[0]]
    scaled = [replace(t, edge_s=t.edge_s / 100, cloud_s=t.cloud_s / 100) for t in everything]
    # No cut that takes a hundredth of its prediction is better than what was found.
    assert request.price(best) <= min(map(request.price, scaled)) * (1 + 1e-9)
    assert not warned


def test_lower_envelope_of_lines_is_the_lowest_line_everywhere() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        # Small integers, so that parallel and equal lines and triple corners are common.
        lines = rng.integers(0, 6, (int(rng.integers(1, 8)), 2)).astype(float)
        pieces = [Piece(np.array([i]), float(a), float(b)) for i, (a, b) in enumerate(lines)]
        found = lower(pieces)
        assert found[0].low == 0.0
        assert found[-1].high is None
        assert all(left.high == right.low for left, right in itertools.pairwise(found))
        for at in [*rng.random(20) * 8, 0.25, 1.0, 2.0]:
            best = min(piece.price(at) for piece in pieces)
            here = next(p for p in found if p.high is None or at <= p.high)
            # A corner is a quotient of small integers: exact to a rounding.
            assert here.price(at) == pytest.approx(best, abs=1e-12)
