"""The solver and the envelope against brute force, on random graphs."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecut.ir.errors import ConstraintError
from edgecut.passes.partition.enumerate import placements
from edgecut.passes.partition.envelope import best_at, over_bandwidth
from edgecut.passes.partition.objective import Situation, delay, latency
from edgecut.passes.partition.problem import Mask, Problem
from edgecut.passes.partition.solver import Solver
from edgecut.targets.spec import Network

# Prices are sums of at most 30 doubles near 1; HiGHS is exact to 1e-7 after our scaling by 1e4.
EXACT = 1e-9


Graph = tuple[int, int]
GRAPHS = st.tuples(st.integers(1, 7), st.integers(0, 1 << 32))
"""Number of groups, and the seed of the rest: drawing each figure on its own takes longer than solving."""

MakeProblem = Callable[[int, np.random.Generator], Problem]
ListLegal = Callable[[Problem], list[Mask]]


LINKS = st.builds(
    Network,
    name=st.just("link"),
    title=st.just("a link"),
    up_mbps=st.sampled_from([0.01, 0.1, 10_000.0]) | st.floats(0.001, 20_000.0),
    down_mbps=st.floats(0.01, 1000.0),
    rtt_ms=st.sampled_from([0.0, 20.0, 500.0]),
)


@settings(max_examples=1000, deadline=None)
@given(graph=GRAPHS, link=LINKS)
def test_solver_finds_what_brute_force_finds(
    random_problem: MakeProblem, every_legal: ListLegal, graph: Graph, link: Network
) -> None:
    problem = random_problem(graph[0], np.random.default_rng(graph[1]))
    rates = latency(Situation(link)).at(delay(link.up_mbps))
    legal = every_legal(problem)
    if not legal:
        with pytest.raises(ConstraintError, match="no cut is legal"):
            Solver(problem)
        return
    found = Solver(problem).best(rates)
    assert any(np.array_equal(found, cloud) for cloud in legal)
    best = min(rates.price(problem.totals(cloud)) for cloud in legal)
    assert rates.price(problem.totals(found)) == pytest.approx(best, rel=EXACT, abs=EXACT)


@settings(max_examples=300, deadline=None)
@given(graph=GRAPHS, link=LINKS)
def test_ties_go_to_fewer_bytes_then_to_the_edge(
    random_problem: MakeProblem, every_legal: ListLegal, graph: Graph, link: Network
) -> None:
    problem = random_problem(graph[0], np.random.default_rng(graph[1]))
    legal = every_legal(problem)
    if not legal:
        return
    rates = latency(Situation(link)).at(delay(link.up_mbps))
    prices = [rates.price(problem.totals(cloud)) for cloud in legal]
    best = min(prices)
    equal = [c for c, price in zip(legal, prices, strict=True) if price <= best + EXACT * max(1.0, best)]
    wanted = min(equal, key=lambda c: (problem.totals(c).up_bytes, int(c.sum())))
    found = Solver(problem).best(rates)
    # A price within rounding of the best may or may not count as a tie.
    clear = all(price <= best + 1e-13 or price > best + 1e-6 for price in prices)
    if clear:
        assert np.array_equal(found, wanted)


@settings(max_examples=2000, deadline=None)
@given(graph=GRAPHS, link=LINKS)
def test_envelope_is_the_best_at_every_bandwidth(
    random_problem: MakeProblem, every_legal: ListLegal, graph: Graph, link: Network
) -> None:
    problem = random_problem(graph[0], np.random.default_rng(graph[1]))
    legal = every_legal(problem)
    if not legal:
        return
    objective = latency(Situation(link))
    pieces = over_bandwidth(Solver(problem), objective, link.up_mbps)
    totals = [problem.totals(cloud) for cloud in legal]
    ends = [p.max_mbps for p in pieces if p.max_mbps and p.max_mbps >= min(0.01, link.up_mbps)]
    for mbps in [*np.geomspace(0.01, 10_000, 61), link.up_mbps, *ends]:
        rates = objective.at(delay(mbps))
        best = min(rates.price(t) for t in totals)
        planned = rates.price(problem.totals(pieces[best_at(pieces, mbps)].cloud))
        # Near a corner two lines differ by less than the relative 1e-9 that counts as equal there.
        assert planned == pytest.approx(best, rel=1e-8, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(graph=GRAPHS, link=LINKS)
def test_ranges_of_the_envelope_adjoin_and_swap_at_their_ends(
    random_problem: MakeProblem, every_legal: ListLegal, graph: Graph, link: Network
) -> None:
    problem = random_problem(graph[0], np.random.default_rng(graph[1]))
    if not every_legal(problem):
        return
    objective = latency(Situation(link))
    pieces = over_bandwidth(Solver(problem), objective, link.up_mbps)
    assert pieces[0].min_mbps == 0.0
    assert pieces[-1].max_mbps is None
    for slow, fast in itertools.pairwise(pieces):
        end = slow.max_mbps
        assert end is not None
        assert end == fast.min_mbps > slow.min_mbps
        prices = [objective.at(delay(end)).price(problem.totals(p.cloud)) for p in (slow, fast)]
        # A corner is the quotient of two differences; the prices there agree to a few roundings.
        assert prices[0] == pytest.approx(prices[1], rel=1e-9)
        assert problem.totals(slow.cloud).up_bytes < problem.totals(fast.cloud).up_bytes


@settings(max_examples=300, deadline=None)
@given(graph=GRAPHS)
def test_enumeration_lists_every_legal_placement_once(
    random_problem: MakeProblem, every_legal: ListLegal, graph: Graph
) -> None:
    problem = random_problem(graph[0], np.random.default_rng(graph[1]))
    legal = every_legal(problem)
    if not legal:
        return
    found, complete = placements(problem)
    assert complete
    assert len(found) == len(legal)
    assert {c.tobytes() for c in found} == {c.tobytes() for c in legal}
