"""How crossing tensors are sent, chosen together with the cut: against brute force, and in plans."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecut.ir import annotations
from edgecut.ir.annotations import Encoding, Encodings, History, Plan, Sensitivity, Step
from edgecut.ir.errors import ConstraintError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import pipeline
from edgecut.passes.base import Context
from edgecut.passes.partition import codings, planning
from edgecut.passes.partition.envelope import best_at, over_bandwidth
from edgecut.passes.partition.explain import explain
from edgecut.passes.partition.mixed import Budget, InfeasibleError, MixedSolver
from edgecut.passes.partition.objective import Situation, delay, latency
from edgecut.passes.partition.partition import Partition
from edgecut.passes.partition.problem import Codings, Mask, Problem
from edgecut.passes.partition.quantities import Bottleneck, Damage, Priced
from edgecut.passes.partition.solver import Solver
from edgecut.targets.spec import Network

# As in test_exact: HiGHS is exact to 1e-7 after our scaling by 1e4, and prices are of the order of 1.
EXACT = 1e-8
KIND = Damage("agreement", "disagreement", "%")
Make = Callable[..., Any]


def with_codings(problem: Problem, rng: np.random.Generator) -> Problem:
    """Up to two codings of each tensor: fewer bytes for time and damage, ties and free ones among them."""
    counts = rng.integers(0, 3, len(problem.tensors))
    tensor = np.repeat(np.arange(len(counts)), counts)
    count = len(tensor)
    size = np.ceil(problem.size[tensor] * rng.choice([0.25, 0.5, 1.0], count)).astype(np.int64)
    times = [rng.choice([0.0, 0.01, 0.1], count) for _ in range(2)]
    damage = {KIND.kind: rng.choice([0.0, 0.01, 0.02, 0.1], count)}
    groups = {KIND.kind: (rng.choice([0.0, 0.01], len(problem.groups)), np.zeros(len(problem.groups)))}
    names = tuple(f"coding{k}" for k in range(count))
    only = bool(rng.random() < 0.2)
    found = Codings(tensor, names, size, times[0], times[1], damage, only)
    return replace(problem, codings=found, damage=groups)


def every(problem: Problem, legal: list[Mask]) -> list[Mask]:
    """Each legal placement with each combination of codings, found by trying all bits."""
    count, found = len(problem.codings.names), []
    for sides in legal:
        crossing = problem.crossing(sides)
        own = [k for k in range(count) if crossing[problem.codings.tensor[k]]]
        for bits in range(1 << len(own)):
            used = np.zeros(count, bool)
            used[[k for i, k in enumerate(own) if bits >> i & 1]] = True
            times = np.bincount(problem.codings.tensor[used], minlength=len(crossing))
            coded = np.isin(np.arange(len(crossing)), problem.codings.tensor)
            if times.max(initial=0) > 1 or (problem.codings.only and (times[coded & crossing] == 0).any()):
                continue
            found.append(problem.joined(sides, used))
    return found


def is_among(found: Mask, known: list[Mask]) -> bool:
    return any(np.array_equal(found, other) for other in known)


@settings(max_examples=120, deadline=None)
@given(count=st.integers(1, 5), seed=st.integers(0, 1 << 32), mbps=st.sampled_from([0.01, 0.1, 1.0, 100.0]))
def test_cut_and_codings_are_what_brute_force_finds(
    random_problem: Make, every_legal: Make, count: int, seed: int, mbps: float
) -> None:
    rng = np.random.default_rng(seed)
    problem = with_codings(random_problem(count, rng), rng)
    ways = every(problem, every_legal(problem))
    if not ways:
        return
    link = Network("link", "a link", mbps, 10.0, 20.0)
    family = latency(Situation(link))
    rates = family.at(delay(mbps))
    found = Solver(problem).best(rates)
    assert is_among(found, ways)
    best = min(rates.price(problem.totals(way)) for way in ways)
    assert rates.price(problem.totals(found)) == pytest.approx(best, rel=EXACT, abs=EXACT)
    bands = over_bandwidth(Solver(problem), family, mbps)
    for at in np.geomspace(0.01, 10_000, 9):
        here = family.at(delay(float(at)))
        planned = here.price(problem.totals(bands[best_at(bands, float(at))].cloud))
        assert planned == pytest.approx(
            min(here.price(problem.totals(w)) for w in ways), rel=EXACT, abs=EXACT
        )


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(1, 5),
    seed=st.integers(0, 1 << 32),
    limit=st.sampled_from([0.0, 0.01, 0.03, 0.1]),
    pipelined=st.booleans(),
)
def test_error_budgets_choose_cut_and_codings_together(
    random_problem: Make, every_legal: Make, count: int, seed: int, limit: float, pipelined: bool
) -> None:
    rng = np.random.default_rng(seed)
    problem = with_codings(random_problem(count, rng), rng)
    rates = latency(Situation(Network("link", "a link", 0.01, 10.0, 20.0))).at(delay(0.01))
    stages = (replace(rates, up_byte=0.0), replace(rates, edge_s=0.0, cloud_s=0.0))
    quantity = Bottleneck(stages) if pipelined else Priced("latency", "s", rates)
    budget = Budget(KIND, limit)
    kept = [way for way in every(problem, every_legal(problem)) if budget.holds(problem, way)]
    if not kept:
        with pytest.raises((InfeasibleError, ConstraintError)):
            MixedSolver(problem, [budget]).minimize([quantity])
        return
    found = MixedSolver(problem, [budget]).minimize([quantity])
    assert is_among(found, kept)
    best = min(quantity.value(problem, way) for way in kept)
    assert quantity.value(problem, found) == pytest.approx(best, rel=EXACT, abs=EXACT)


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 5), seed=st.integers(0, 1 << 32))
def test_ways_of_sending_are_listed_each_once(
    random_problem: Make, every_legal: Make, count: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    problem = with_codings(random_problem(count, rng), rng)
    for sides in every_legal(problem):
        listed = [way.tobytes() for way in codings.every(problem, sides)]
        assert len(listed) == len(set(listed))
        assert set(listed) == {way.tobytes() for way in every(problem, [sides])}


# A byte per millisecond on the way up, nothing else takes time on the network.
NETWORK = 'title = "slow"\nup_mbps = 0.008\ndown_mbps = 1000\nrtt_ms = 0\n'


@pytest.fixture
def network(tmp_path: Any) -> str:
    path = tmp_path / "slow.toml"
    path.write_text(NETWORK)
    return str(path)


@pytest.fixture
def program(make: Make, node: Make) -> Program:
    """x(100) -> a(400) -> b(90) -> c; cloud-only takes 140 ms. a and b may be sent in less, at a price."""
    made: Program = make(
        [
            node("a", ("x",), 400, edge=0.01, cloud=0.01),
            node("b", ("a",), 90, edge=0.03, cloud=0.01),
            node("c", ("b",), 0, edge=5.0, cloud=0.02),
        ],
        ["c"],
    )
    held = Encoding("uint8", 400, 400, 1.0, accuracy=0.9)
    small = Encoding("int4", 50, 60, 0.96, 20.0, 0.88, encode_s=0.004, decode_s=0.001)
    fine = Encoding("step{step=0.5}", 70, 80, 0.99, 30.0, 0.895, encode_s=0.004, decode_s=0.001)
    worse = Encoding("int8", 90, 90, 0.99, 30.0, 0.895, encode_s=0.004, decode_s=0.001)
    annotations.put(made.value("a"), Encodings((held, small, fine, worse), 50))
    held, half = replace(held, mean_bytes=90), Encoding("float16", 40, 40, 0.98, 25.0, None)
    annotations.put(made.value("b"), Encodings((held, half), 50))
    return made


def plan(program: Program, network: str, **options: Any) -> Plan:
    item = Partition(network=network, **options)
    found = annotations.get(pipeline.run([item], program.copy(), Context()).model, Plan)
    assert found is not None
    return found


def test_a_plan_says_how_each_tensor_is_sent_and_what_that_takes(program: Program, network: str) -> None:
    assert plan(program, network).chosen.cut.name == "cloud-only"
    chosen = plan(program, network, boundary="auto", min_agreement=0.97).chosen
    assert (chosen.cut.name, chosen.cut.crossing, chosen.cut.encodings) == ("b@float16", ("b",), ("float16",))
    assert chosen.latency_s == pytest.approx(0.04 + 0.02 + 0.040)
    # a@int4 takes 0.01 + 0.03 + 0.050 + 0.005 s: the best where 4 % of other answers are allowed.
    slow = program.copy()
    annotations.put(slow.value("b"), Encodings((Encoding("uint8", 90, 90, 1.0),), 50))
    chosen = plan(slow, network, boundary="auto", min_agreement=0.95).chosen
    assert (chosen.cut.name, chosen.up_bytes) == ("a@int4", 50)
    assert (chosen.edge_s, chosen.cloud_s) == pytest.approx((0.014, 0.031))
    chosen = plan(slow, network, boundary="auto", min_agreement=0.985).chosen
    assert (chosen.cut.name, chosen.up_bytes) == ("a@step{step=0.5}", 70)
    assert plan(slow, network, boundary="auto", min_agreement=0.995).chosen.cut.name == "cloud-only"


def test_each_kind_of_error_budget_limits_its_own_figure(program: Program, network: str) -> None:
    def names(**limits: float) -> set[str]:
        return {f.cut.name for f in plan(program, network, boundary="auto", **limits).cuts}

    # b's accuracy as float16 is not known, so it is not used under a budget of accuracy.
    assert "b@float16" not in names(max_accuracy_drop=5.0)
    assert "a@int4" in names(max_accuracy_drop=2.5)
    assert "a@int4" not in names(max_accuracy_drop=1.0)
    assert "b@float16" in names(min_sqnr=24.0)
    assert "b@float16" not in names(min_sqnr=26.0)


def test_errors_of_integer_kernels_and_of_the_boundary_add_up(program: Program, network: str) -> None:
    def cut(min_sqnr: float) -> str:
        return plan(program, network, boundary="auto", min_sqnr=min_sqnr).chosen.cut.name

    # float16 at b: 25 dB. With a kernel at 25 dB beside it: 22 dB.
    assert cut(23.0) == "b@float16"
    node = next(n for n in program.nodes if n.name == "a")
    kernel = Sensitivity(("a",), 30.0, 25.0, 0.99, 1e-3, "measured", True, "")
    annotations.put(node, kernel)
    assert cut(21.9) == "b@float16"
    # The finer encoding of a has 30 dB: 23.8 dB with the kernel.
    assert cut(23.0) == "a@step{step=0.5}"
    assert cut(24.0) == "cloud-only"
    with pytest.raises(ConstraintError) as caught:
        cut(26.0)
    assert str(caught.value).startswith(
        "no cut keeps to the noise budget of 26 dB: the least that any needs is 25 dB, 1 dB worse "
        "(lower it to 25 dB)"
    )
    annotations.put(node, replace(kernel, integer=False))
    assert cut(23.0) == "b@float16"


def test_kernels_together_count_as_what_was_measured_of_the_whole_model(
    program: Program, network: str
) -> None:
    """Alone either kernel changes 2 % of the answers, together they were seen to change 1 %."""
    for name in ("a", "b"):
        node = next(n for n in program.nodes if n.name == name)
        annotations.put(node, Sensitivity((name,), 30.0, 25.0, 0.98, 1e-3, "measured", True, ""))

    def cut(min_agreement: float) -> str:
        return plan(program, network, boundary="auto", min_agreement=min_agreement).chosen.cut.name

    with pytest.raises(ConstraintError, match="the least that any needs is 4 %"):
        cut(0.965)
    assert plan(program, network, min_agreement=0.965).chosen.cut.name == "cloud-only"
    annotations.put(program.model, History((Step("quantize{scheme=int8}", 1, {"agreement": 0.99}),)))
    # float16 at b changes 2 %: 3 % with the kernels.
    assert cut(0.965) == "b@float16"
    assert cut(0.975) == "a@step{step=0.5}"


def test_an_encoding_can_be_forced(program: Program, network: str) -> None:
    assert plan(program, network, boundary="int4").chosen.cut.name == "a@int4"
    named = plan(program, network, boundary="auto", min_agreement=0.9, cut="a@int4").chosen
    assert (named.cut.name, named.cut.encodings, named.up_bytes) == ("a@int4", ("int4",), 50)
    best = plan(program, network, boundary="auto", min_agreement=0.985, cut="a").chosen
    assert best.cut.name == "a@step{step=0.5}"
    with pytest.raises(UsageError, match="cannot be sent as int3"):
        plan(program, network, boundary="auto", min_agreement=0.9, cut="a@int3")
    with pytest.raises(ConstraintError, match=r"needs 4 % of disagreement; the budget is 1 %"):
        plan(program, network, boundary="auto", min_agreement=0.99, cut="a@int4")
    with pytest.raises(UsageError, match="no tensor has 'int3'"):
        plan(program, network, boundary="int3")
    with pytest.raises(UsageError, match="needs an error budget"):
        plan(program, network, boundary="auto")


def test_explain_tells_what_the_error_budget_costs(program: Program, network: str) -> None:
    request = Partition(network=network, boundary="auto", min_agreement=0.995).request(program)
    found = explain(planning.pose(program, request), request)
    (binding,) = found.bindings
    assert found.chosen.cut.name == "cloud-only"
    assert (binding.name, binding.instead) == ("disagreement", "a@int4")
    assert binding.needs == pytest.approx(0.04)
    assert binding.loss == pytest.approx(0.14 - 0.095)
