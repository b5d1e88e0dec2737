"""From a problem to a plan: the cut for the given network, those for other networks, and fallbacks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgecut.ir import extract
from edgecut.ir.annotations import Cut, Plan, Side, Together
from edgecut.ir.program import Program
from edgecut.passes.partition import codings, cuts, features, nearest, objective, reader
from edgecut.passes.partition.baselines import baselines
from edgecut.passes.partition.envelope import Band, Piece, bands_of, best_at, lower, over_bandwidth
from edgecut.passes.partition.infeasible import explained
from edgecut.passes.partition.mixed import Budget, InfeasibleError, MixedSolver
from edgecut.passes.partition.objective import BYTES_SENT, Family, Rates, Situation, latency
from edgecut.passes.partition.prices import prices
from edgecut.passes.partition.privacy import Labels
from edgecut.passes.partition.problem import Mask, Problem, Totals
from edgecut.passes.partition.quantities import Bottleneck, Priced, Quantity
from edgecut.passes.partition.reader import Members

NOWHERE = (0.0, 0.0)

Known = Mapping[bytes, tuple[Mask, Totals]]
"""Placements, by their bytes, with what they add up to."""


@dataclass(frozen=True)
class Request:
    """What is wanted of a plan."""

    situation: Situation
    objective: str = "latency"
    pricing: Callable[[Situation], Family] | None = latency
    """Its prices over the delay of the uplink; None for the throughput, which is no sum."""
    budgets: tuple[Budget, ...] = ()
    """They hold at the situation's network."""
    best_effort: bool = False
    """Where no cut keeps to them, go on with the nearest that are possible."""
    forced: str | None = None
    """Name of the cut to take, whether it is the best or not."""
    features: bool = False
    """Cut where the head begins, whether that is the best or not ..."""
    head: str | None = None
    """... which is at this node, or after the last spatial tensor."""
    labels: Labels | None = None
    """What may not leave the device."""
    boundary: str = codings.NONE
    """``none``: tensors are sent as they are held; ``auto``, or the encoding to send them in."""

    @property
    def family(self) -> Family | None:
        """The prices in this situation."""
        return self.pricing(self.situation) if self.pricing else None

    def price(self, totals: Totals) -> float:
        """What is minimized, of a placement that adds up to these totals."""
        family = self.family
        if family is None:
            return bottleneck(self.situation).price(totals)
        return family.at(self.situation.delay).price(totals)

    def quantity(self) -> Quantity:
        """What is minimized, at the situation's network."""
        family = self.family
        if family is None:
            return bottleneck(self.situation)
        unit = objective.UNITS.get(self.objective, "")
        return Priced(self.objective, unit, family.at(self.situation.delay))


@dataclass(frozen=True)
class Posed:
    """A program and what was read off it."""

    program: Program
    problem: Problem
    members: Members

    def cut(self, cloud: Mask) -> Cut:
        """The cut that a placement makes."""
        return cuts.to_cut(self.program, self.problem, self.members, cloud)


def pose(program: Program, request: Request) -> Posed:
    """Read the problem off a profiled program.

    Raises:
        ModelError: The program has no costs.
    """
    members = reader.group_members(program)
    problem = codings.read(program, reader.read(program), members, request.boundary, request.budgets)
    if request.labels is not None:
        sealed = [tensor in request.labels.sealed for tensor in problem.tensors]
        problem = replace(problem, sealed=np.array(sealed, bool))
    return Posed(program, problem, members)


def eased(posed: Posed, request: Request) -> tuple[Request, list[str]]:
    """The request with budgets that some cut keeps to, if best effort will do; and what was widened.

    Raises:
        ConstraintError: No cut is legal, or the forced one is not.
        UsageError: There is no cut of the forced name.
    """
    if not request.best_effort or not request.budgets:
        return request, []
    budgets = nearest.widened(posed.problem, request.budgets, _forced(posed, request))
    return replace(request, budgets=budgets), nearest.described(request.budgets, budgets)


def plan(
    posed: Posed,
    request: Request,
    known: Known | None = None,
    told: Callable[[Mask], Together | None] = lambda placement: None,
    timed: tuple[Side, ...] = (),
) -> Plan:
    """The plan of a profiled program.

    Args:
        posed: The program.
        request: What is wanted.
        known: Placements that have been measured; the plan is then made of these only.
        told: What the encodings of a placement do together.
        timed: The sides whose times have been measured, where placements have.

    Raises:
        ConstraintError: No cut is legal and within the budgets, or the forced one is not.
        UsageError: There is no cut of the forced name.
    """
    problem, network = posed.problem, request.situation.network
    rates = latency(request.situation).at(request.situation.delay)
    bands = offered(posed, request, known)
    measured = {key: found for key, (_, found) in (known or {}).items()}
    made = []
    for band in bands:
        totals = measured.get(band.cloud.tobytes()) or problem.totals(band.cloud)
        best = band.min_mbps, band.max_mbps
        figures = cuts.figures(posed.cut(band.cloud), totals, rates, best)
        made.append(replace(figures, measured=timed, together=told(band.cloud)))
    return Plan(
        objective=request.objective,
        network=network.name,
        up_mbps=network.up_mbps,
        down_mbps=network.down_mbps,
        rtt_s=network.rtt_s,
        cuts=tuple(made),
        baselines=baselines(posed.program, problem, rates, measured),
        prices=prices(request.pricing, request.situation) if request.pricing else None,
    )


def offered(posed: Posed, request: Request, known: Known | None = None) -> list[Band]:
    """All placements of a plan: the chosen one, those for other bandwidths, and fallbacks."""
    bands = candidates(posed, request) if known is None else _of_known(request, known)
    first = _forced(posed, request)
    if first is not None:
        bands = [next((b for b in bands if np.array_equal(b.cloud, first)), Band(first, *NOWHERE)), *bands]
    return _distinct([*bands, *fallbacks(posed.problem, request.budgets)])


def _of_known(request: Request, known: Known) -> list[Band]:
    mbps, family = request.situation.network.up_mbps, request.family
    if family is None:
        cloud, _ = min(known.values(), key=lambda item: request.price(item[1]))
        return [Band(cloud, mbps, mbps)]
    pieces = [Piece(cloud, *family.line(totals)) for cloud, totals in known.values()]
    return _chosen_first(bands_of(lower(pieces), mbps), mbps)


def _chosen_first(bands: Sequence[Band], mbps: float) -> list[Band]:
    first = best_at(bands, mbps)
    return [bands[first], *bands[:first], *bands[first + 1 :]]


def candidates(posed: Posed, request: Request) -> list[Band]:
    """The best placement for the network, then those that are the best at other bandwidths."""
    with explained(posed.problem, request.budgets):
        solver = MixedSolver(posed.problem, request.budgets)
        mbps = request.situation.network.up_mbps
        family = request.family
        if family is None:
            return [Band(solver.minimize([request.quantity(), BYTES_SENT]), mbps, mbps)]
        return _chosen_first(over_bandwidth(solver, family, mbps), mbps)


def fallbacks(problem: Problem, budgets: Sequence[Budget]) -> list[Band]:
    """Edge-only and cloud-only, where they are legal and within the budgets."""
    groups = len(problem.groups)
    sides = [np.zeros(groups, bool), np.ones(groups, bool)]
    legal = [cloud for cloud in sides if cuts.is_legal(problem, cloud)]
    return [Band(cloud, *NOWHERE) for cloud in legal if all(b.holds(problem, cloud) for b in budgets)]


def bottleneck(at: Situation) -> Bottleneck:
    """The slowest of edge, uplink, server and downlink, when inferences follow each other."""
    down = objective.delay(at.network.down_mbps)
    sides = (Rates(edge_s=1.0), Rates(cloud_s=at.load))
    return Bottleneck((*sides, Rates(up_byte=at.delay), Rates(down_byte=down)))


def _forced(posed: Posed, request: Request) -> Mask | None:
    """The placement that the user asks for, if any."""
    program, problem, members = posed.program, posed.problem, posed.members
    if request.forced is not None:
        name, encodings = cuts.parts(program, request.forced)
        sides = cuts.to_placement(program, problem, members, extract.named_cut(program, name))
        cloud = _sent(request, problem, sides, encodings)
    elif request.features:
        sides = features.head(program, problem, members, request.head)
        name = posed.cut(sides).name
        cuts.check(problem, sides, name)
        cloud = _sent(request, problem, sides, None)
    else:
        return None
    for budget in () if request.best_effort else request.budgets:
        budget.check(problem, cloud, name)
    return cloud


def _sent(request: Request, problem: Problem, sides: Mask, encodings: str | None) -> Mask:
    """How the tensors of forced sides are sent: as named, or in the way that is best within the budgets."""
    if encodings is not None:
        return codings.named(problem, sides, encodings, f"--cut {request.forced}")
    fixed = replace(problem, must_cloud=sides, must_edge=~sides)
    try:
        return MixedSolver(fixed, request.budgets).minimize([request.quantity(), BYTES_SENT])
    except InfeasibleError:
        return next(codings.every(problem, sides))


def _distinct(bands: Sequence[Band]) -> list[Band]:
    by_placement: dict[bytes, Band] = {}
    for band in bands:
        by_placement.setdefault(band.cloud.tobytes(), band)
    return list(by_placement.values())
