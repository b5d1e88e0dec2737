"""Objectives, budgets and privacy: against brute force, and as a user meets them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from edgecut.ir import annotations
from edgecut.ir.annotations import Plan, Privacy
from edgecut.ir.errors import ConstraintError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import pipeline, text
from edgecut.passes.base import Context
from edgecut.passes.partition.mixed import Budget, InfeasibleError, MixedSolver
from edgecut.passes.partition.objective import Rates
from edgecut.passes.partition.partition import Partition
from edgecut.passes.partition.problem import Mask, Problem
from edgecut.passes.partition.quantities import Bottleneck, Crossings, Memory, Priced, Quantity

Make = Callable[..., Any]

QUANTITIES: tuple[Quantity, ...] = (
    Priced("latency", "s", Rates(1, 1, 1e-3, 1e-4, 0.05)),
    Priced("energy", "J", Rates(4, 2, 1e-3, 0, 0.2)),
    Bottleneck((Rates(edge_s=1), Rates(up_byte=1e-3), Rates(cloud_s=1))),
    Crossings(),
    Memory(),
)


@pytest.mark.parametrize("objective", QUANTITIES, ids=lambda q: q.name)
def test_budgets_and_objectives_against_brute_force(
    objective: Quantity, random_problem: Make, every_legal: Make
) -> None:
    rng = np.random.default_rng(7)
    outcomes = {"infeasible": 0, "feasible": 0}
    while sum(outcomes.values()) < 60:
        problem: Problem = random_problem(int(rng.integers(1, 8)), rng)
        legal: list[Mask] = every_legal(problem)
        if not legal:
            continue
        budgets = _random_budgets(problem, legal, rng)
        kept = [cloud for cloud in legal if all(b.holds(problem, cloud) for b in budgets)]
        outcomes["feasible" if kept else "infeasible"] += 1
        if not kept:
            with pytest.raises(InfeasibleError):
                MixedSolver(problem, budgets).minimize([objective])
            continue
        found = MixedSolver(problem, budgets).minimize([objective])
        assert any(np.array_equal(found, cloud) for cloud in kept)
        best = min(objective.value(problem, cloud) for cloud in kept)
        # HiGHS is exact to 1e-6 after our scaling of the largest coefficient to 1e4: relative 1e-10.
        assert objective.value(problem, found) == pytest.approx(best, rel=1e-8, abs=1e-8)
    assert min(outcomes.values()) > 5


def _random_budgets(problem: Problem, legal: Sequence[Mask], rng: np.random.Generator) -> list[Budget]:
    """Limits at, above or below what some legal placement needs, so that some bind exactly."""
    chosen = [q for q in QUANTITIES if rng.random() < 0.4]
    return [
        Budget(
            q, float(rng.choice([q.value(problem, c) for c in legal])) * float(rng.choice([0.8, 1.0, 1.2]))
        )
        for q in chosen
    ]


def test_peak_memory_is_what_executing_group_by_group_holds(random_problem: Make, every_legal: Make) -> None:
    """Counted again by playing the execution, tensor by tensor."""
    rng = np.random.default_rng(3)
    for _ in range(100):
        problem: Problem = random_problem(int(rng.integers(1, 8)), rng)
        for cloud in every_legal(problem):
            assert Memory().value(problem, cloud) == _played(problem, cloud)


def _played(problem: Problem, cloud: Mask) -> float:
    peak, outputs = 0, 0
    sent = problem.crossing(cloud)
    for k in np.flatnonzero(~cloud):
        outputs += int(problem.answer[k])
        alive = outputs
        for t, (size, maker) in enumerate(zip(problem.size, problem.producer, strict=True)):
            readers = problem.read_group[problem.read_tensor == t]
            made = maker < 0 or (not cloud[maker] and maker <= k)
            alive += int(size) if made and (readers.max() >= k or sent[t]) else 0
        peak = max(peak, alive)
    return peak + int(problem.weights[~cloud].sum())


BOARD = """
title = "board"
kind = "any"
runtime = "litert"
cores = 1
memory_mb = 100
reach = "local"
[power]
active_w = 4.0
idle_w = 1.0
[price]
usd_per_s = 0.01
usd_per_request = 0.001
"""

# 0.008 Mbps: a byte per millisecond, both ways.
NETWORK = """
title = "slow"
up_mbps = 0.008
down_mbps = 0.008
rtt_ms = 100
price_per_gb = 1000000.0
[radio]
tx_base_mw = 500.0
tx_mw_per_mbps = 0.0
rx_base_mw = 250.0
rx_mw_per_mbps = 0.0
tail_mw = 100.0
tail_s = 1.0
"""


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """Targets of round figures, from files as a user gives them."""
    (tmp_path / "board.toml").write_text(BOARD)
    (tmp_path / "slow.toml").write_text(NETWORK)
    board = str(tmp_path / "board.toml")
    return {"network": str(tmp_path / "slow.toml"), "edge": board, "cloud": board}


@pytest.fixture
def bottleneck(make: Make, node: Make) -> Program:
    """x(100) -> a(1000) -> b(10) -> c(4)."""
    program: Program = make(
        [
            node("a", ("x",), 1000, edge=0.2, cloud=0.01),
            node("b", ("a",), 10, edge=0.2, cloud=0.01),
            node("c", ("b",), 4, edge=1.0, cloud=0.1),
        ],
        ["c"],
    )
    return program


def plan(program: Program, **options: Any) -> Plan:
    out = pipeline.run([Partition(**options)], program, Context(), use_cache=False)
    found = annotations.get(out.model, Plan)
    assert found is not None
    return found


def test_latency_energy_and_cost_choose_differently(bottleneck: Program, options: dict[str, Any]) -> None:
    # Latency: cloud-only 0.12 + 0.1 + 0.1 + 0.004 s; b 0.4 + 0.1 + 0.01 + 0.1 + 0.004 s.
    assert plan(bottleneck, **options).chosen.cut.name == "cloud-only"
    # Energy: cloud-only waits 0.22 J, sends 0.15 J, receives 0.005 J, tail 0.1 J; b computes 1.6 J.
    assert plan(bottleneck, objective="energy", **options).chosen.cut.name == "cloud-only"
    # Cost: nothing is cheaper than the user's own device.
    assert plan(bottleneck, objective="cost", **options).chosen.cut.name == "edge-only"
    # Energy, with a device that draws nothing while it computes.
    frugal = Path(options["edge"])
    frugal.write_text(BOARD.replace("active_w = 4.0", "active_w = 0.1"))
    assert plan(bottleneck, objective="energy", **options).chosen.cut.name == "edge-only"


def test_energy_is_the_sum_of_its_parts(bottleneck: Program, options: dict[str, Any]) -> None:
    request = Partition(objective="energy", **options).request(bottleneck)
    problem = _problem(bottleneck)
    cut_at_b = np.array([False, False, True])
    computing, waiting = 4.0 * 0.4, 1.0 * (0.1 + 0.1)
    sending, receiving, tail = (1.0 + 0.5) * 0.010, (1.0 + 0.25) * 0.004, 0.1 * 1.0
    expected = computing + waiting + sending + receiving + tail
    assert request.quantity().value(problem, cut_at_b) == pytest.approx(expected)
    request = Partition(objective="cost", **options).request(bottleneck)
    expected = 0.01 * 0.1 + 0.001 + (10 + 4) * 1e6 / 1e9
    assert request.quantity().value(problem, cut_at_b) == pytest.approx(expected)


def test_a_loaded_server_costs_waiting_and_money(bottleneck: Program, options: dict[str, Any]) -> None:
    problem, cut_at_b = _problem(bottleneck), np.array([False, False, True])
    wanted: tuple[tuple[Literal["energy", "cost"], float], ...] = (
        ("energy", 1.0 * 0.1),
        ("cost", 0.01 * 0.1),
    )
    for objective, more in wanted:
        passes = [Partition(objective=objective, load=load, **options) for load in (1, 2)]
        idle, busy = (item.request(bottleneck).quantity() for item in passes)
        assert busy.value(problem, cut_at_b) - idle.value(problem, cut_at_b) == pytest.approx(more)


def _problem(program: Program) -> Problem:
    from edgecut.passes.partition import reader

    return reader.read(program)


def test_throughput_balances_the_slowest_stage(make: Make, node: Make, options: dict[str, Any]) -> None:
    """Together both sides would take 1.8 s, but each stage only 0.9 s; latency would stay on the edge."""
    layers = [node(f"n{i}", ("x" if i == 0 else f"n{i - 1}",), 10, edge=0.3, cloud=0.3) for i in range(6)]
    program = make(layers, ["n5"])
    assert plan(program, **options).chosen.cut.name == "edge-only"
    found = plan(program, objective="throughput", **options)
    assert found.chosen.cut.name == "n2"
    assert found.chosen.edge_s == found.chosen.cloud_s == pytest.approx(0.9)


def test_weights_mix_objectives(bottleneck: Program, options: dict[str, Any]) -> None:
    def chosen(*weights: str) -> str:
        return plan(bottleneck, objective="weighted", weights=weights, **options).chosen.cut.name

    assert chosen("latency=1", "cost=0") == "cloud-only"
    assert chosen("latency=1", "cost=1000") == "edge-only"
    with pytest.raises(UsageError, match="no objective 'beauty' to weigh"):
        chosen("beauty=1")
    with pytest.raises(UsageError, match=r"is 'latency' \(such as latency=1,energy=0.5\)"):
        chosen("latency")


def test_a_budget_moves_the_cut_and_holds_for_every_cut_of_the_plan(
    bottleneck: Program, options: dict[str, Any]
) -> None:
    free = plan(bottleneck, objective="cost", **options)
    assert free.chosen.latency_s == pytest.approx(1.4)
    within = plan(bottleneck, objective="cost", max_latency_ms=700, **options)
    # Both b and cloud-only are fast enough; b sends 90 bytes less, and computes less in the cloud.
    assert within.chosen.cut.name == "b"
    assert all(figures.latency_s <= 0.7 for figures in within.cuts)
    assert "edge-only" not in [figures.cut.name for figures in within.cuts]


def test_memory_counts_weights_and_what_is_alive(make: Make, node: Make, options: dict[str, Any]) -> None:
    program = make(
        [
            node("a", ("x",), 600_000, edge=0.0, cloud=9.0),
            node("b", ("a",), 500_000, edge=0.0, cloud=9.0),
            node("c", ("b",), 10, edge=0.0, cloud=9.0),
        ],
        ["c"],
    )
    # While b runs, its input and its output are alive: 1.1 MB.
    assert plan(program, max_memory_mb=1.2, **options).chosen.cut.name == "edge-only"
    assert plan(program, max_memory_mb=1.05, **options).chosen.cut.name in ("cloud-only", "a")
    with pytest.raises(ConstraintError, match=r"needs 1.1 MB of memory; the budget is 1 MB"):
        plan(program, max_memory_mb=1.0, cut="b", **options)


def test_a_budget_that_nothing_keeps_says_by_how_much(bottleneck: Program, options: dict[str, Any]) -> None:
    with pytest.raises(ConstraintError) as caught:
        plan(bottleneck, max_latency_ms=100, **options)
    assert str(caught.value) == (
        "no cut keeps to the latency budget of 100 ms: the least that any needs is 324 ms, 224 ms more "
        "(raise it to 324 ms)"
    )


def test_budgets_that_contradict_each_other_say_what_would_do(
    bottleneck: Program, options: dict[str, Any]
) -> None:
    with pytest.raises(ConstraintError) as caught:
        plan(bottleneck, max_latency_ms=400, max_crossings=0, **options)
    assert str(caught.value) == (
        "no cut keeps to all of these together: latency budget of 400 ms, crossings budget of 0 "
        "(raise latency to 1.4 s or raise crossings to 1)"
    )


def test_missing_figures_are_a_usage_error(bottleneck: Program) -> None:
    with pytest.raises(UsageError, match="has no power figures"):
        plan(bottleneck, network="wifi", objective="energy")
    with pytest.raises(UsageError, match="has no price"):
        plan(bottleneck, network="wifi", max_cost_usd=1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"up_mbps": 0.0},
        {"load": -1.0},
        {"rtt_ms": -1.0},
        {"max_memory_mb": 0.0},
        {"weights": ("latency=1",)},
        {"objective": "weighted", "weights": ("latency=nan",)},
        {"min_agreement": 1.01},
    ],
)
def test_options_out_of_range_are_usage_errors(bottleneck: Program, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        plan(bottleneck, **wrong)


def test_no_bandwidth_and_endless_bandwidth_are_usage_errors(bottleneck: Program, tmp_path: Path) -> None:
    for value in ("0", "-1", "inf", "nan"):
        path = tmp_path / "odd.toml"
        path.write_text(f'title = "odd"\nup_mbps = {value}\ndown_mbps = 1\nrtt_ms = 1\n')
        with pytest.raises(UsageError, match="up_mbps"):
            plan(bottleneck, network=str(path))
        with pytest.raises(UsageError, match="up_mbps"):
            text.bind(Partition, {"up_mbps": value})


def test_costs_that_are_no_numbers_are_an_error(bottleneck: Program) -> None:
    problem = _problem(bottleneck)
    rates = Rates(1.0, 1.0, 1e-3, 0.0, 0.0)
    for wrong in (np.nan, np.inf):
        broken = replace(problem, edge_s=np.full(3, wrong))
        with pytest.raises(ConstraintError, match="a cost is not a finite number"):
            MixedSolver(broken, [Budget(Crossings(), 1)]).minimize([rates])


def test_a_loaded_server_and_a_long_round_trip_push_work_to_the_edge(
    bottleneck: Program, options: dict[str, Any]
) -> None:
    assert plan(bottleneck, load=20, **options).chosen.cut.name == "edge-only"
    assert plan(bottleneck, rtt_ms=2000, **options).chosen.cut.name == "edge-only"
    assert plan(bottleneck, rtt_ms=2000, **options).rtt_s == 2.0


@pytest.fixture
def camera(make: Make, node: Make) -> Program:
    """A private face -> a -> blur -> b -> c, with a public y that joins at c."""
    program: Program = make(
        [
            node("a", ("face",), 100, edge=1.0, cloud=0.0),
            node("blur", ("a",), 100, edge=1.0, cloud=0.0),
            node("b", ("blur",), 100, edge=1.0, cloud=0.0),
            node("c", ("b", "y"), 4, edge=9.0, cloud=0.0),
        ],
        ["c"],
        {"face": 50, "y": 50},
    )
    return program


def test_nothing_private_is_sent(camera: Program, options: dict[str, Any]) -> None:
    assert plan(camera, **options).chosen.cut.name == "cloud-only"
    found = plan(camera, private=("face",), **options)
    assert [figures.cut.name for figures in found.cuts] == ["edge-only"]
    reasons = {b.name: b.reason for b in found.baselines}
    assert reasons["cloud-only"] == "face must not leave the device"


def test_a_declassifier_lets_its_result_pass_and_the_labels_are_kept(
    camera: Program, options: dict[str, Any]
) -> None:
    wanted: dict[str, Any] = {"private": ("face=biometric",), "declassify": ("blur",)}
    out = pipeline.run([Partition(**wanted, **options)], camera, Context())
    found = annotations.get(out.model, Plan)
    assert found is not None
    assert found.chosen.cut.name == "y+blur"
    assert annotations.get(out.value("blur"), Privacy) == Privacy(("biometric",))
    assert annotations.get(out.value("y"), Privacy) is None
    with pytest.raises(ConstraintError, match=r"'a' is private and would be sent \(cut after .*--declassify"):
        plan(camera, cut="y+a", **wanted, **options)


def test_private_data_that_joins_after_the_declassifier_is_private_still(
    camera: Program, options: dict[str, Any]
) -> None:
    found = plan(camera, private=("face", "y"), declassify=("blur",), **options)
    assert [figures.cut.name for figures in found.cuts] == ["edge-only"]


def test_private_data_that_only_the_cloud_can_use_is_an_error(make: Make, node: Make) -> None:
    program = make([node("a", ("x",), 10, edge=None)], ["a"])
    with pytest.raises(ConstraintError, match="edge cannot run Add a: no kernel; but x must not leave"):
        plan(program, private=("x",))


def test_unknown_private_inputs_and_declassifiers_are_usage_errors(camera: Program) -> None:
    with pytest.raises(UsageError, match=r"--private: no input named 'fac' \(did you mean 'face'"):
        plan(camera, private=("fac",))
    with pytest.raises(UsageError, match="--declassify: no node named 'blurr'"):
        plan(camera, private=("face",), declassify=("blurr",))
    with pytest.raises(UsageError, match="'blur' reads nothing private"):
        plan(camera, private=("y",), declassify=("blur",))


def test_options_print_back_as_the_text_that_makes_them() -> None:
    item = Partition(
        objective="weighted",
        weights=("latency=1", "energy=0.5"),
        private=("face=biometric",),
        max_memory_mb=1.5,
        max_crossings=2,
        require_win="10%",
    )
    (call,) = text.parse(text.unparse(item))
    assert text.bind(Partition, call.options) == item
