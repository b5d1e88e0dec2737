"""The optimum over bandwidth and round trip, as data for drawing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgecut.ir.errors import UsageError
from edgecut.passes.partition import objective
from edgecut.passes.partition.baselines import baselines
from edgecut.passes.partition.envelope import FASTEST_MBPS, SLOWEST_MBPS, Band, over_bandwidth
from edgecut.passes.partition.infeasible import explained
from edgecut.passes.partition.mixed import MixedSolver
from edgecut.passes.partition.planning import Posed, Request, fallbacks
from edgecut.passes.partition.problem import Floats

ROUND_TRIPS_MS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


@dataclass(frozen=True)
class Curve:
    """The price of a cut or a baseline over the bandwidth: ``intercept + slope / mbps``."""

    name: str
    intercept: float
    slope: float
    is_baseline: bool = False

    def at(self, mbps: Floats) -> Floats:
        """Prices at some bandwidths."""
        return self.intercept + self.slope / mbps


@dataclass(frozen=True)
class Stretch:
    """A cut, and between which bandwidths it is the best."""

    name: str
    min_mbps: float
    max_mbps: float | None


@dataclass(frozen=True)
class Row:
    """The best cuts at one round trip, from the slowest to the fastest uplink."""

    rtt_s: float
    best: tuple[Stretch, ...]


@dataclass(frozen=True)
class Sweep:
    """The optimum over bandwidth and round trip."""

    objective: str
    unit: str
    network: str
    up_mbps: float
    rtt_s: float
    low_mbps: float
    high_mbps: float
    curves: tuple[Curve, ...]
    """Cuts that are best somewhere, and edge-only and cloud-only; then baselines."""
    best: tuple[Stretch, ...]
    rows: tuple[Row, ...]


def sweep(posed: Posed, request: Request) -> Sweep:
    """Find the best cuts over all bandwidths, at the network's round trip and at others.

    Raises:
        UsageError: The objective is the throughput, whose best cuts have no such envelope.
        ConstraintError: No cut is legal and within the budgets.
    """
    family = request.family
    if family is None:
        raise UsageError("cannot be swept", where=f"--objective {request.objective}")
    at, problem = request.situation, posed.problem
    bands = _bands(posed, request)
    clouds = {b.cloud.tobytes(): b.cloud for b in (*bands, *fallbacks(problem, request.budgets))}
    lines = [(posed.cut(cloud).name, family.line(problem.totals(cloud))) for cloud in clouds.values()]
    cuts = [Curve(name, line[0], line[1] * objective.BITS_PER_MEGABYTE) for name, line in lines]
    return Sweep(
        objective=request.objective,
        unit=objective.UNITS.get(request.objective, ""),
        network=at.network.name,
        up_mbps=at.network.up_mbps,
        rtt_s=at.network.rtt_s,
        low_mbps=min(SLOWEST_MBPS, at.network.up_mbps),
        high_mbps=max(FASTEST_MBPS, at.network.up_mbps),
        curves=(*cuts, *(_baselines(posed, request) if request.objective == "latency" else ())),
        best=_stretches(posed, bands),
        rows=tuple(_row(posed, request, ms) for ms in ROUND_TRIPS_MS),
    )


def name_at(stretches: Sequence[Stretch], mbps: float) -> str:
    """The best cut at a bandwidth."""
    return next(s.name for s in stretches if s.max_mbps is None or mbps <= s.max_mbps)


def grid(drawn: Sweep, count: int) -> Floats:
    """So many bandwidths, evenly spaced on a logarithmic axis."""
    return np.geomspace(drawn.low_mbps, drawn.high_mbps, count)


def _bands(posed: Posed, request: Request) -> list[Band]:
    family = request.family
    assert family is not None
    with explained(posed.problem, request.budgets):
        solver = MixedSolver(posed.problem, request.budgets)
        return over_bandwidth(solver, family, request.situation.network.up_mbps)


def _stretches(posed: Posed, bands: Sequence[Band]) -> tuple[Stretch, ...]:
    return tuple(Stretch(posed.cut(b.cloud).name, b.min_mbps, b.max_mbps) for b in bands)


def _row(posed: Posed, request: Request, rtt_ms: float) -> Row:
    at = request.situation
    other = replace(request, situation=replace(at, network=replace(at.network, rtt_ms=rtt_ms)))
    return Row(rtt_ms / 1000, _stretches(posed, _bands(posed, other)))


def _baselines(posed: Posed, request: Request) -> list[Curve]:
    at = request.situation
    found = baselines(posed.program, posed.problem, objective.latency(at).at(at.delay), {})
    return [
        Curve(b.name, b.latency_s - b.up_bytes * at.delay, b.up_bytes * objective.BITS_PER_MEGABYTE, True)
        for b in found
        if b.latency_s is not None and b.name != "edge-only"
    ]
