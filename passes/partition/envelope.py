"""Every placement that is best at some uplink bandwidth, and where each one takes over.

The price of a placement is a straight line over the delay (seconds per byte sent), so the best price is
the lower envelope of those lines. Eisner and Severance's method finds it with two solves per piece:
where the lines of two neighbours meet, either a better placement shows up, or the point is a corner.
"""

import itertools
from dataclasses import dataclass, replace

from edgecut.passes.partition.objective import BITS_PER_MEGABYTE, BYTES_SENT, Objective
from edgecut.passes.partition.problem import Mask
from edgecut.passes.partition.solver import Solver

SLOWEST_MBPS = 0.01
FASTEST_MBPS = 10_000.0
"""The envelope is searched between these; beyond them its outermost pieces are kept."""

SAME = 1e-9
"""Relative difference below which two prices count as equal: sums of doubles, solved to 1e-11."""


@dataclass(frozen=True)
class Piece:
    """A placement, and the uplink bandwidths between which it is the best one."""

    cloud: Mask
    intercept: float
    slope: float
    """Its price is ``intercept + slope * delay``."""
    min_mbps: float = 0.0
    max_mbps: float | None = None
    """None: without an upper end."""

    def price(self, at: float) -> float:
        """Its price at a delay."""
        return self.intercept + self.slope * at

    def covers(self, mbps: float) -> bool:
        """Whether it is best at this bandwidth."""
        return self.min_mbps <= mbps and (self.max_mbps is None or mbps <= self.max_mbps)


def envelope(solver: Solver, objective: Objective, mbps: float) -> list[Piece]:
    """The best placements over all bandwidths, from the slowest to the fastest.

    Args:
        solver: The problem.
        objective: What to minimize.
        mbps: A bandwidth that is searched even if it is beyond the usual range.
    """
    fastest = _piece(solver, objective, max(FASTEST_MBPS, mbps))
    slowest = _piece(solver, objective, min(SLOWEST_MBPS, mbps))
    found, stack = [fastest], [slowest]
    while stack:
        between = _between(solver, objective, found[-1], stack[-1])
        if between is None:
            found.append(stack.pop())
        else:
            stack.append(between)
    return _with_ranges(_distinct(found))


def best_at(pieces: list[Piece], mbps: float) -> int:
    """Index of the piece for a bandwidth; at a corner, of the one that sends less."""
    return next(i for i, piece in enumerate(pieces) if piece.covers(mbps))


def _piece(solver: Solver, objective: Objective, mbps: float) -> Piece:
    cloud = solver.minimize([objective.at(mbps), BYTES_SENT])
    return Piece(cloud, *objective.line(solver.problem.totals(cloud)))


def _between(solver: Solver, objective: Objective, fast: Piece, slow: Piece) -> Piece | None:
    """A placement that beats both where their lines meet, if there is one."""
    corner = _corner(fast, slow)
    if corner is None:
        return None
    found = _piece(solver, objective, BITS_PER_MEGABYTE / corner)
    beats = found.price(corner) < fast.price(corner) * (1 - SAME)
    return found if beats and slow.slope < found.slope < fast.slope else None


def _corner(fast: Piece, slow: Piece) -> float | None:
    """The delay at which two lines meet."""
    if fast.slope <= slow.slope:
        return None
    at = (slow.intercept - fast.intercept) / (fast.slope - slow.slope)
    return at if at > 0 else None


def _distinct(pieces: list[Piece]) -> list[Piece]:
    """Drop what is the best nowhere, where rounding has left two pieces with no corner between them."""
    kept: list[Piece] = []
    for piece in pieces:
        while kept and piece.slope < kept[-1].slope and _corner(kept[-1], piece) is None:
            kept.pop()
        if not kept or piece.slope < kept[-1].slope:
            kept.append(piece)
    return kept


def _with_ranges(pieces: list[Piece]) -> list[Piece]:
    """Order by bandwidth and note where neighbours meet."""
    corners = [_corner(a, b) for a, b in itertools.pairwise(pieces)]
    ends = [BITS_PER_MEGABYTE / c for c in corners if c]
    ranged = [
        replace(piece, min_mbps=low, max_mbps=high)
        for piece, low, high in zip(pieces, [*ends, 0.0], [None, *ends], strict=True)
    ]
    return ranged[::-1]
