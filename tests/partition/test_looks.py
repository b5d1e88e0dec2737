"""What may be asked about a plan: explain, the Pareto front, sweeps, and a required win."""

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.ir import annotations
from edgecut.ir.annotations import ImageInput, Plan, Upload
from edgecut.ir.errors import ConstraintError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import pipeline
from edgecut.passes.base import Context
from edgecut.passes.partition import (
    explain_text,
    pareto_picture,
    picture,
    planning,
    sweep_picture,
    sweep_text,
)
from edgecut.passes.partition.explain import Explanation, explain
from edgecut.passes.partition.mixed import MixedSolver
from edgecut.passes.partition.objective import Rates
from edgecut.passes.partition.pareto import _Search, front
from edgecut.passes.partition.partition import Partition
from edgecut.passes.partition.problem import Problem
from edgecut.passes.partition.sweep import Sweep, name_at, sweep

Make = Callable[..., Any]

NETWORK = 'title = "slow"\nup_mbps = 0.008\ndown_mbps = 1000\nrtt_ms = 0\n'


@pytest.fixture
def network(tmp_path: Path) -> str:
    """A byte per millisecond."""
    path = tmp_path / "slow.toml"
    path.write_text(NETWORK)
    return str(path)


@pytest.fixture
def program(make: Make, node: Make) -> Program:
    """x(100) -> a(1000) -> b(10) -> c(4); the best cut for a byte per millisecond is b, at 0.15 s."""
    made: Program = make(
        [
            node("a", ("x",), 1000, edge=0.02, cloud=0.01),
            node("b", ("a",), 10, edge=0.02, cloud=0.01),
            node("c", ("b",), 0, edge=5.0, cloud=0.1),
        ],
        ["c"],
    )
    return made


def explained(program: Program, **options: Any) -> Explanation:
    request = Partition(**options).request(program)
    return explain(planning.pose(program, request), request)


def swept(program: Program, **options: Any) -> Sweep:
    request = Partition(**options).request(program)
    return sweep(planning.pose(program, request), request)


def chosen(program: Program, **options: Any) -> str:
    out = pipeline.run([Partition(**options)], program, Context())
    plan = annotations.get(out.model, Plan)
    assert plan is not None
    return plan.chosen.cut.name


def test_explain_ranks_the_other_cuts(program: Program, network: str) -> None:
    found = explained(program, network=network)
    assert found.chosen.cut.name == "b"
    assert found.chosen.price == pytest.approx(0.15)
    assert [r.cut.name for r in found.runners_up] == ["cloud-only", "a", "edge-only"]
    assert [r.price for r in found.runners_up] == pytest.approx([0.22, 1.13, 5.04])
    assert found.complete


def test_explain_names_changes_that_do_move_the_cut(program: Program, network: str) -> None:
    """Each change, made for real a little less and a little more."""
    changes = {(c.parameter, c.to): c for c in explained(program, network=network).changes}
    option = {"bandwidth": ("up_mbps", 1.0), "round trip": ("rtt_ms", 1000.0), "cloud time": ("load", 1.0)}
    tried = 0
    for (parameter, to), change in changes.items():
        if parameter not in option:
            continue
        name, factor = option[parameter]
        outward = 1.001 if change.at > change.now else 0.999
        assert chosen(program, network=network, **{name: change.at * factor / outward}) == "b"
        assert chosen(program, network=network, **{name: change.at * factor * outward}) == to
        tried += 1
    assert tried == 4
    # b takes 40 ms on the edge and the cloud 20 ms; sending x instead of b takes 90 ms more.
    assert changes["edge time", "cloud-only"].at == pytest.approx((0.09 + 0.02) / 0.04)


def test_explain_tells_what_a_budget_costs(program: Program, network: str) -> None:
    found = explained(program, network=network, max_memory_mb=0.0005, max_crossings=3)
    memory, crossings = found.bindings
    assert found.chosen.cut.name == "cloud-only"
    assert (memory.instead, memory.needs, memory.limit) == ("b", 1100, 500)
    assert memory.loss == pytest.approx(0.22 - 0.15)
    assert crossings.loss == 0
    assert crossings.instead is None
    shown = explain_text.text(found)
    assert "memory: 0 B of 500 B, binds: 1.1 KB would allow b, 70 ms better" in shown
    assert "crossings: 1 of 3, does not bind" in shown


def test_explain_says_what_is_pinned(make: Make, node: Make) -> None:
    program = make([node("a", ("x",), 10), node("b", ("a",), 4, edge=None)], ["b"])
    assert "1 groups have no choice\n  Add b: no kernel" in explain_text.text(explained(program))


@pytest.mark.parametrize("size", [2, 3])
def test_front_is_what_brute_force_finds(size: int, random_problem: Make, every_legal: Make) -> None:
    """Every point of it is the best for some weights, and no weights have a better cut."""
    rng = np.random.default_rng(size)
    prices = [Rates(1, 1, 1e-3, 1e-4, 0.05), Rates(4, 2, 1e-3, 0, 0.2), Rates(0, 3, 0, 0, 0.5)][:size]
    sizes = []
    for _ in range(40):
        problem: Problem = random_problem(int(rng.integers(3, 8)), rng)
        legal = every_legal(problem)
        if not legal:
            continue
        found = _Search(MixedSolver(problem), prices).run()
        values = np.array([value for _, value in found])
        everything = np.array([[p.price(problem.totals(c)) for p in prices] for c in legal])
        for weights in rng.dirichlet(np.ones(size), 100):
            best = (everything @ weights).min()
            # Sums of a few doubles; scaled solves are exact to 1e-10.
            assert (values @ weights).min() == pytest.approx(best, rel=1e-8, abs=1e-12)
        for i, j in itertools.permutations(range(len(values)), 2):
            assert not ((values[i] <= values[j]).all() and (values[i] < values[j] - 1e-6).any())
        sizes.append(len(found))
    assert max(sizes) > 2


def test_front_of_unknown_or_single_objectives_is_a_usage_error(program: Program, network: str) -> None:
    request = Partition(network=network).request(program)
    posed = planning.pose(program, request)
    for wrong in (("latency",), ("latency", "latency"), ("latency", "beauty")):
        with pytest.raises(UsageError, match="two or three of: latency, energy, cost"):
            front(posed, request, wrong)


def test_sweep_agrees_with_plans_at_each_bandwidth_and_round_trip(program: Program, network: str) -> None:
    found = swept(program, network=network)
    for mbps in np.geomspace(0.01, 10_000, 7):
        assert name_at(found.best, mbps) == chosen(program, network=network, up_mbps=float(mbps))
    # With a server that takes 4.5 s, the edge's 5.04 s are the better ones from a round trip of 0.49 s on.
    busy = swept(program, network=network, load=45)
    by_round_trip = {row.rtt_s: name_at(row.best, 0.008) for row in busy.rows}
    assert (by_round_trip[0.2], by_round_trip[0.5]) == ("b", "edge-only")
    for rtt_s, name in by_round_trip.items():
        assert name == chosen(program, network=network, load=45, rtt_ms=1000 * rtt_s)


def test_sweep_is_drawn_as_text_and_svg(program: Program, network: str) -> None:
    annotations.put(program.value("x"), ImageInput((0.0,), (1.0,), Upload(400, 100, 30, 95)))
    found = swept(program, network=network)
    shown = sweep_text.text(found)
    assert max(len(line) for line in shown.splitlines()) <= 100
    for name in ("edge-only", "b", "cloud-only", "jpeg q95"):
        assert name in shown
    drawn = ET.fromstring(picture.svg(sweep_picture.picture(found)))
    lines = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    # Three cuts, three uploads, and a thick stretch for each cut that is best in the range.
    assert len(lines) >= 6
    assert all(line.get("points") for line in lines)


def test_front_is_drawn_as_svg(program: Program, tmp_path: Path) -> None:
    request = Partition(network="wifi", edge="raspberrypi4").request(program)
    found = front(planning.pose(program, request), request, ("latency", "energy"))
    drawn = ET.fromstring(picture.svg(pareto_picture.picture(found)))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == len(found.points)


def test_a_required_win_is_measured_against_the_best_baseline(program: Program, network: str) -> None:
    # cloud-only takes 0.22 s, b 0.15 s: a win of 31.8 %.
    assert chosen(program, network=network, require_win="30%") == "b"
    with pytest.raises(ConstraintError, match=r"b takes 150 ms and cloud-only 220 ms, a win of 31.8 %"):
        chosen(program, network=network, require_win="35%")
    annotations.put(program.value("x"), ImageInput((0.0,), (1.0,), Upload(400, 100, 20, 95)))
    with pytest.raises(ConstraintError, match=r"cloud-only jpeg q95 140 ms, a win of -7.14 %"):
        chosen(program, network=network, require_win="0%")


def test_a_required_win_fails_where_no_split_is_the_best(program: Program, network: str) -> None:
    with pytest.raises(ConstraintError, match="no split is better than cloud-only"):
        chosen(program, network=network, up_mbps=1000.0, require_win="10%")
    with pytest.raises(UsageError, match="a percentage, such as 10%"):
        chosen(program, network=network, require_win="much")
    with pytest.raises(UsageError, match="compares latencies"):
        chosen(program, network=network, objective="throughput", require_win="10%")
