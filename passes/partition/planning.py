"""From a problem to a plan: the cut for the given network, those for other networks, and fallbacks."""

from dataclasses import dataclass

import numpy as np

from edgecut.ir import extract
from edgecut.ir.annotations import Plan
from edgecut.ir.program import Program
from edgecut.passes.partition import cuts, reader
from edgecut.passes.partition.baselines import baselines
from edgecut.passes.partition.envelope import best_at, envelope
from edgecut.passes.partition.objective import Link, Objective, latency
from edgecut.passes.partition.problem import Mask, Problem
from edgecut.passes.partition.solver import Solver

Range = tuple[float, float | None]

NOWHERE: Range = (0.0, 0.0)


@dataclass(frozen=True)
class Candidate:
    """A placement that the artifacts are to hold, and the bandwidths between which it is the best."""

    cloud: Mask
    best: Range = NOWHERE


def plan(program: Program, link: Link, objective: Objective, forced: str | None = None) -> Plan:
    """The plan of a profiled program.

    Args:
        program: Its annotations give the costs.
        link: The network.
        objective: What to minimize.
        forced: Name of the cut to take, whether it is the best or not.

    Raises:
        ModelError: The program has no costs.
        ConstraintError: No cut is legal, or the forced one is not.
        UsageError: There is no cut of the forced name.
    """
    problem, members = reader.read(program), reader.group_members(program)
    candidates = _candidates(problem, link, objective)
    if forced is not None:
        cut = extract.named_cut(program, forced)
        first = cuts.to_placement(program, problem, members, cut)
        candidates = [Candidate(first, _range(candidates, first)), *candidates]
    rates = latency(link).at(link.up_mbps)
    made = []
    for candidate in _distinct(candidates):
        cut = cuts.to_cut(program, problem, members, candidate.cloud)
        made.append(cuts.figures(problem, cut, candidate.cloud, rates, candidate.best))
    return Plan(
        objective=objective.name,
        network=link.name,
        up_mbps=link.up_mbps,
        down_mbps=link.down_mbps,
        rtt_s=link.rtt_s,
        cuts=tuple(made),
        baselines=baselines(program, problem, rates),
    )


def _candidates(problem: Problem, link: Link, objective: Objective) -> list[Candidate]:
    """The best placement for the network, then the others of the envelope, then what needs no cut."""
    pieces = envelope(Solver(problem), objective, link.up_mbps)
    first = best_at(pieces, link.up_mbps)
    ordered = [pieces[first], *pieces[:first], *pieces[first + 1 :]]
    groups = len(problem.groups)
    fallbacks = [np.zeros(groups, bool), np.ones(groups, bool)]
    return [
        *(Candidate(piece.cloud, (piece.min_mbps, piece.max_mbps)) for piece in ordered),
        *(Candidate(cloud) for cloud in fallbacks if cuts.is_legal(problem, cloud)),
    ]


def _range(candidates: list[Candidate], cloud: Mask) -> Range:
    return next((c.best for c in candidates if np.array_equal(c.cloud, cloud)), NOWHERE)


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    by_placement: dict[bytes, Candidate] = {}
    for candidate in candidates:
        by_placement.setdefault(candidate.cloud.tobytes(), candidate)
    return list(by_placement.values())
