"""Why this cut: what binds it, which cuts come next, and the smallest changes that would move it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from edgecut.ir.annotations import Cut, Together
from edgecut.passes.partition import codings
from edgecut.passes.partition.enumerate import placements
from edgecut.passes.partition.envelope import Piece, envelope
from edgecut.passes.partition.mixed import MixedSolver
from edgecut.passes.partition.objective import BITS_PER_MEGABYTE, BYTES_SENT, Family, Rates, Situation
from edgecut.passes.partition.planning import Posed, Request, candidates
from edgecut.passes.partition.problem import Mask
from edgecut.passes.partition.quantities import Chosen
from edgecut.passes.partition.together import Judge, told

RUNNERS_UP = 5


@dataclass(frozen=True)
class Ranked:
    """A cut and its price."""

    cut: Cut
    price: float


@dataclass(frozen=True)
class Binding:
    """A budget: what the cut needs of it, and what it costs."""

    name: str
    unit: str
    value: float
    limit: float
    loss: float
    """How much lower the price would be without this budget; 0 where it does not bind."""
    instead: str | None = None
    """The cut that would be chosen without it ..."""
    needs: float | None = None
    """... and what that one needs."""


@dataclass(frozen=True)
class Change:
    """A value of one parameter from which on another cut is better, all else unchanged."""

    parameter: str
    unit: str
    now: float
    at: float
    to: str
    """The cut that takes over."""

    @property
    def ratio(self) -> float:
        """How far away it is: 2 if the parameter has to double or halve; infinite from or to 0."""
        low, high = sorted((self.now, self.at))
        return high / low if low > 0 else float("inf")


@dataclass(frozen=True)
class Explanation:
    """All that `explain` finds; prices are in ``unit``."""

    objective: str
    unit: str
    chosen: Ranked
    runners_up: tuple[Ranked, ...]
    complete: bool
    """The runners-up are of all cuts; else only of those where one tensor crosses."""
    bindings: tuple[Binding, ...]
    changes: tuple[Change, ...]
    """The nearest first."""
    pinned: tuple[str, ...]
    """Why groups have no choice."""
    together: Together | None = None
    """What the chosen cut's encodings do together, if it has any and that is known."""
    ruled_out: tuple[str, ...] = ()
    """Cuts whose encodings, and all that are as coarse, do more together than the error budgets allow."""


def explain(posed: Posed, request: Request, judged: Judge | None = None) -> Explanation:
    """Explain the best cut of a request (a forced one is not considered).

    Args:
        posed: The program.
        request: What is wanted.
        judged: Measures what encodings do together.

    Raises:
        ConstraintError: No cut is legal and within the budgets.
    """
    problem, quantity = posed.problem, request.quantity()
    best = candidates(posed, request)[0].cloud
    sides, complete = placements(problem)
    found = [way for cloud in sides for way in codings.every(problem, cloud)]
    kept = [
        c for c in found if all(b.holds(problem, c) for b in request.budgets) and not np.array_equal(c, best)
    ]
    prices = [(quantity.value(problem, cloud), i) for i, cloud in enumerate(kept)]
    next_best = [Ranked(posed.cut(kept[i]), price) for price, i in sorted(prices)[:RUNNERS_UP]]
    return Explanation(
        objective=quantity.name,
        unit=quantity.unit,
        chosen=Ranked(posed.cut(best), quantity.value(problem, best)),
        runners_up=tuple(next_best),
        complete=complete,
        bindings=tuple(_bindings(posed, request, best)),
        changes=tuple(sorted(_changes(posed, request), key=lambda change: change.ratio)),
        pinned=tuple(problem.reasons.values()),
        together=told(posed, judged, best),
        ruled_out=tuple(b.quantity.cut for b in request.budgets if isinstance(b.quantity, Chosen)),
    )


def _bindings(posed: Posed, request: Request, best: Mask) -> Iterator[Binding]:
    problem, quantity = posed.problem, request.quantity()
    for budget in request.budgets:
        if isinstance(budget.quantity, Chosen):
            continue  # part of an error budget, and told as such
        others = tuple(other for other in request.budgets if other is not budget)
        free = MixedSolver(problem, others).minimize([quantity, BYTES_SENT])
        loss = quantity.value(problem, best) - quantity.value(problem, free)
        measure = budget.quantity
        told = Binding(measure.name, measure.unit, measure.value(problem, best), budget.limit, max(loss, 0.0))
        if budget.holds(problem, free):
            yield replace(told, loss=0.0)
        else:
            yield replace(told, instead=posed.cut(free).name, needs=measure.value(problem, free))


def _changes(posed: Posed, request: Request) -> Iterator[Change]:
    """The two ends of the chosen cut's range, over each parameter that prices depend on."""
    at = request.situation
    family = request.family
    if family is None:
        return
    solver = MixedSolver(posed.problem, request.budgets)
    for name, unit, now, over in _parameters(request, at, family):
        if over.slope == Rates():
            continue
        pieces = envelope(solver, over)
        here = next(i for i, piece in enumerate(pieces) if piece.high is None or now <= piece.high)
        for value, neighbour in _ends(pieces, here):
            moved = Change(name, unit, now, value, posed.cut(neighbour.cloud).name)
            yield _in_mbps(moved) if name == "bandwidth" else moved


def _parameters(request: Request, at: Situation, family: Family) -> Iterator[tuple[str, str, float, Family]]:
    """Name, unit, present value, and prices over each parameter."""
    rates = family.at(at.delay)
    yield "bandwidth", "Mbit/s", at.delay, family
    quick = _rates(request, replace(at, network=replace(at.network, rtt_ms=0.0)))
    slow = _rates(request, replace(at, network=replace(at.network, rtt_ms=1000.0)))
    yield "round trip", "s", at.network.rtt_s, Family(quick, slow + quick * -1.0)
    yield "edge time", "x", 1.0, Family(replace(rates, edge_s=0.0), Rates(edge_s=rates.edge_s))
    yield "cloud time", "x", 1.0, Family(replace(rates, cloud_s=0.0), Rates(cloud_s=rates.cloud_s))


def _rates(request: Request, at: Situation) -> Rates:
    assert request.pricing is not None
    return request.pricing(at).at(at.delay)


def _ends(pieces: list[Piece], here: int) -> Iterator[tuple[float, Piece]]:
    """Where the range of a piece ends, and what is best beyond."""
    if here > 0:
        yield pieces[here].low, pieces[here - 1]
    if here + 1 < len(pieces):
        yield pieces[here + 1].low, pieces[here + 1]


def _in_mbps(change: Change) -> Change:
    return replace(change, now=BITS_PER_MEGABYTE / change.now, at=BITS_PER_MEGABYTE / change.at)
