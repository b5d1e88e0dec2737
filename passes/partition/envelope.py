"""Every placement that is best at some uplink bandwidth, and where each one takes over.

The price of a placement is a straight line over the delay (seconds per byte sent), so the best price is
the lower envelope of those lines. Eisner and Severance's method finds it with two solves per piece:
where the lines of two neighbours meet, either a better placement shows up, or the point is a corner.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgecut.passes.partition.objective import BITS_PER_MEGABYTE, BYTES_SENT, Objective, Rates
from edgecut.passes.partition.problem import Mask
from edgecut.passes.partition.solver import Solver

SLOWEST_MBPS = 0.01
FASTEST_MBPS = 10_000.0
"""What is the best only beyond these bandwidths is left out, as no artifact should carry it."""

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

    def matters(self, low: float, high: float) -> bool:
        """Whether it sends nothing, or is best somewhere between these bandwidths."""
        return self.slope == 0 or (self.min_mbps < high and (self.max_mbps is None or self.max_mbps > low))

    def covers(self, mbps: float) -> bool:
        """Whether it is best at this bandwidth."""
        return self.min_mbps <= mbps and (self.max_mbps is None or mbps <= self.max_mbps)


def envelope(solver: Solver, objective: Objective, mbps: float) -> list[Piece]:
    """The best placements over all bandwidths, from the slowest to the fastest; their ranges adjoin.

    Args:
        solver: The problem.
        objective: What to minimize.
        mbps: A bandwidth that counts even if it is beyond the usual range.
    """
    fastest = _piece(solver, objective, [objective.fixed, BYTES_SENT])
    slowest = _piece(solver, objective, [BYTES_SENT, objective.fixed])
    found, stack = [fastest], [slowest]
    while stack:
        between = _between(solver, objective, found[-1], stack[-1])
        if between is None:
            found.append(stack.pop())
        else:
            stack.append(between)
    low, high = min(SLOWEST_MBPS, mbps), max(FASTEST_MBPS, mbps)
    ranged = _with_ranges(_distinct(found))
    return _with_ranges([piece for piece in ranged if piece.matters(low, high)])[::-1]


def best_at(pieces: list[Piece], mbps: float) -> int:
    """Index of the piece for a bandwidth; at a corner, of the one that sends less."""
    return next(i for i, piece in enumerate(pieces) if piece.covers(mbps))


def _piece(solver: Solver, objective: Objective, priorities: Sequence[Rates]) -> Piece:
    cloud = solver.minimize(priorities)
    return Piece(cloud, *objective.line(solver.problem.totals(cloud)))


def _between(solver: Solver, objective: Objective, fast: Piece, slow: Piece) -> Piece | None:
    """A placement that beats both where their lines meet, if there is one."""
    corner = _corner(fast, slow)
    if corner is None:
        return None
    found = _piece(solver, objective, [objective.at(BITS_PER_MEGABYTE / corner), BYTES_SENT])
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
    """Note where neighbours meet; from the fastest to the slowest bandwidth."""
    corners = [_corner(fast, slow) for fast, slow in itertools.pairwise(pieces)]
    ends = [BITS_PER_MEGABYTE / corner for corner in corners if corner]
    return [
        replace(piece, min_mbps=low, max_mbps=high)
        for piece, low, high in zip(pieces, [*ends, 0.0], [None, *ends], strict=True)
    ]
