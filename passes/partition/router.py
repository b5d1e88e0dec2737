"""Input partitioning: the edge answers what it is sure of, and the cloud the rest.

The edge runs the whole program, compressed as it is. Where the margin of its scores is below a threshold,
either the input goes to the imported model in the cloud, or the tensors of a cut go to the rest of the
float program. Which of them, and which cut, is what the objective says: every way is run on data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgecut.frontends.data import Dataset
from edgecut.ir import store
from edgecut.ir.annotations import Cut, CutFigures, Plan, Router
from edgecut.ir.errors import ConstraintError, UsageError
from edgecut.passes import split
from edgecut.passes.base import Context
from edgecut.passes.partition import cascade, cuts, objective
from edgecut.passes.partition.baselines import baselines
from edgecut.passes.partition.cascade import CloudHalf
from edgecut.passes.partition.envelope import over_bandwidth
from edgecut.passes.partition.mixed import Budget, MixedSolver, shown
from edgecut.passes.partition.objective import Rates, latency
from edgecut.passes.partition.planning import Posed, Request
from edgecut.passes.partition.problem import Mask, Problem, Totals
from edgecut.passes.partition.quantities import Priced
from edgecut.passes.partition.threshold import Seen, calibrate, interval

NAME = "router"
STRAIGHT = "cloud-only"


@dataclass(frozen=True)
class Wanted:
    """What is asked of a router."""

    agreement: float
    max_bytes: int | None


@dataclass(frozen=True)
class _Way:
    """One way to ask the cloud, calibrated, and judged on samples that it was not calibrated on."""

    half: CloudHalf
    cloud: Mask
    """The placement whose crossing tensors it sends."""
    threshold: float
    judged: Seen
    once: Totals
    """Of a request that the edge runs and the cloud answers."""
    straight: Totals
    """Of a request that does not go through the edge."""

    @property
    def kept(self) -> float:
        """Share of requests that the edge answers."""
        return float(self.judged.kept(self.threshold).mean())

    def price(self, rates: Rates) -> float:
        """Expected price of a request."""
        skipped = float(self.judged.straight.mean())
        asked = 1 - self.kept - skipped
        edge = rates.edge_s * self.once.edge_s
        answered = edge * (1 - skipped) + asked * (rates.price(self.once) - edge)
        return answered + skipped * rates.price(self.straight)


def plan(
    posed: Posed, request: Request, wanted: Wanted, data: Dataset, context: Context
) -> tuple[Plan, Router]:
    """The plan of a program that is routed.

    Raises:
        ConstraintError: The edge cannot run all of it, no way to ask the cloud is legal, within the
            budgets and agrees as often as was asked for, or the program has no class scores.
        UsageError: The objective is the throughput.
    """
    if request.pricing is None:
        raise UsageError(
            "cannot be routed by", where="--objective throughput", hint="latency, energy or cost"
        )
    problem = posed.problem
    if problem.must_cloud.any():
        reason = problem.reasons[problem.groups[int(np.argmax(problem.must_cloud))]]
        raise ConstraintError(f"the edge cannot run {reason}", where="mode=input", hint="it has to run all")
    candidates = _candidates(posed, request)
    ways = _calibrated(posed, candidates, wanted, data, context)
    usable = [way for way in ways if all(_holds(budget, problem, way) for budget in request.budgets)]
    if not usable:
        missed = _over_budget(request, problem, ways)
        if not request.best_effort:
            raise missed
        context.warn(missed.what)
        usable = [min(ways, key=lambda way: _excess(request, problem, way))]
    rates = request.pricing(request.situation).at(request.situation.delay)
    best = min(usable, key=lambda way: way.price(rates))
    return _written(posed, request, wanted, best, len(data) - len(best.judged.margins))


def _candidates(posed: Posed, request: Request) -> list[tuple[Mask, CloudHalf]]:
    """Ways to ask the cloud that are the best at some bandwidth, once the edge has run everything."""
    problem, real = posed.problem, cascade.float_program(posed.program)
    assert request.pricing is not None
    free = request.pricing(request.situation)
    free = replace(free, fixed=replace(free.fixed, edge_s=0.0))
    must = problem.answer > 0
    asked = replace(problem, must_cloud=must, edge_s=np.zeros_like(problem.edge_s))
    bands = over_bandwidth(MixedSolver(asked), free, request.situation.network.up_mbps)
    found = [(band.cloud, cascade.rest(posed.program, _routed(posed, band.cloud), real)) for band in bands]
    ways = [(cloud, half) for cloud, half in found if half is not None and not cloud.all()]
    everything = np.ones(len(problem.groups), bool)
    if cuts.is_legal(problem, everything):
        ways.append((everything, cascade.whole(posed.program, _routed(posed, everything))))
    if not ways:
        raise ConstraintError("nothing that the cloud could go on from may be sent", where="mode=input")
    return ways


def _routed(posed: Posed, cloud: Mask) -> Cut:
    made = posed.cut(cloud)
    return Cut(NAME, made.crossing, tuple(spec.name for spec in posed.program.outputs))


def _calibrated(
    posed: Posed,
    candidates: Sequence[tuple[Mask, CloudHalf]],
    wanted: Wanted,
    data: Dataset,
    context: Context,
) -> list[_Way]:
    halves = [half for _, half in candidates]
    limit = wanted.max_bytes
    large = np.zeros(len(data), bool) if limit is None else cascade.sizes(data) > limit
    with context.progress.task("calibrating the router", len(data)) as advance:
        seen = cascade.watch(posed.program, halves, data, large, advance)
    held_out = np.array([split.is_held_out(i) for i in range(len(data))])
    ways, reasons = [], []
    for (cloud, half), whole in zip(candidates, seen, strict=True):
        fit, test = whole.part(~held_out), whole.part(held_out if held_out.any() else ~held_out)
        try:
            ways.append(_way(posed, cloud, half, calibrate(fit, wanted.agreement), test))
        except ConstraintError as error:
            reasons.append(error)
    if not ways:
        raise reasons[-1]
    return ways


def _way(posed: Posed, cloud: Mask, half: CloudHalf, threshold: float, judged: Seen) -> _Way:
    problem = posed.problem
    whole = problem.totals(np.ones(len(problem.groups), bool))
    once = replace(
        problem.totals(cloud),
        edge_s=float(problem.edge_s.sum()),
        cloud_s=half.seconds,
        down_bytes=whole.down_bytes,
    )
    straight = replace(whole, cloud_s=cascade.whole_seconds(posed.program))
    return _Way(half, cloud, threshold, judged, once, straight)


def _holds(budget: Budget, problem: Problem, way: _Way) -> bool:
    return _need(budget, problem, way) <= budget.limit * (1 + 1e-9)


def _need(budget: Budget, problem: Problem, way: _Way) -> float:
    quantity = budget.quantity
    if isinstance(quantity, Priced):
        return way.price(quantity.rates)
    whole_edge = np.zeros(len(problem.groups), bool)
    return quantity.value(problem, whole_edge if quantity.name == "memory" else way.cloud)


def _excess(request: Request, problem: Problem, way: _Way) -> float:
    """By what share of their limits it exceeds the budgets, in sum."""
    needs = [(_need(budget, problem, way), budget.limit) for budget in request.budgets]
    return sum(max(need / (limit or 1.0) - bool(limit), 0.0) for need, limit in needs)


def _over_budget(request: Request, problem: Problem, ways: Sequence[_Way]) -> ConstraintError:
    tight = [b for b in request.budgets if not any(_holds(b, problem, way) for way in ways)]
    if not tight:
        names = ", ".join(budget.quantity.name for budget in request.budgets)
        return ConstraintError(f"no router keeps to all of these together: {names}", hint="relax one of them")
    quantity, limit = tight[0].quantity, tight[0].limit
    least = min(_need(tight[0], problem, way) for way in ways)
    what = f"no router keeps to the {quantity.name} budget of {shown(limit, quantity.unit)}"
    return ConstraintError(what, hint=f"raise it to {shown(least, quantity.unit)}")


def _written(posed: Posed, request: Request, wanted: Wanted, best: _Way, samples: int) -> tuple[Plan, Router]:
    at, problem = request.situation, posed.problem
    rates = latency(at).at(at.delay)
    whole = np.ones(len(problem.groups), bool)
    alone = cuts.figures(posed.cut(~whole), problem.totals(~whole), rates)
    routed = replace(_figures(best.half, best.once, rates), latency_s=best.price(rates))
    listed = [routed, alone]
    if straight := cuts.is_legal(problem, whole):
        half = cascade.whole(posed.program, posed.cut(whole))
        listed.append(_figures(half, best.straight, rates))
    elif wanted.max_bytes is not None:
        raise ConstraintError("nothing may go straight to the cloud", where="--max-input-bytes")
    network = at.network
    made = Plan(
        objective=request.objective,
        network=network.name,
        up_mbps=network.up_mbps,
        down_mbps=network.down_mbps,
        rtt_s=network.rtt_s,
        cuts=tuple(listed),
        baselines=baselines(posed.program, problem, rates, {}),
    )
    judged, count = best.judged, len(best.judged.margins)
    right = int(judged.agrees(best.threshold).sum())
    low, high = interval(right, count)
    router = Router(
        cut=NAME,
        straight=STRAIGHT if straight else None,
        scores=cascade.scores_output(posed.program),
        threshold=min(best.threshold, LARGEST),
        agreement=wanted.agreement,
        samples=samples,
        judged_on=count,
        expected=right / count,
        low=low,
        high=high,
        edge_agreement=float(judged.edge_agrees.mean()),
        offloaded=float(np.mean(~judged.kept(best.threshold))),
        latency_s=best.price(rates),
        energy_j=_priced("energy", request, best),
        cost_usd=_priced("cost", request, best),
        max_bytes=wanted.max_bytes,
    )
    return made, router


LARGEST = 3.4e38
"""A threshold that no margin reaches, as JSON can hold it."""


def _figures(half: CloudHalf, once: Totals, rates: Rates) -> CutFigures:
    return cuts.figures(replace(half.cut, cloud=store.put(half.program)), once, rates)


def _priced(name: str, request: Request, way: _Way) -> float | None:
    try:
        return way.price(objective.LINEAR[name](request.situation).at(request.situation.delay))
    except UsageError:
        return None
