"""Every placement that is best at some value of a parameter, and where each one takes over.

The price of a placement is a straight line over the parameter (seconds per byte sent, say), so the best
price is the lower envelope of those lines. Eisner and Severance's method finds it with two solves per
piece: where the lines of two neighbours meet, either a better placement shows up, or that is a corner.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from edgecut.passes.partition.objective import BITS_PER_MEGABYTE, BYTES_SENT, Family, Rates
from edgecut.passes.partition.problem import Mask, Problem

SLOWEST_MBPS = 0.01
FASTEST_MBPS = 10_000.0
"""What is the best only beyond these bandwidths is left out, as no artifact should carry it."""

SAME = 1e-9
"""Relative difference below which two prices count as equal: sums of doubles, solved to 1e-11."""


class Minimizer(Protocol):
    """A solver, with or without budgets."""

    problem: Problem

    def minimize(self, priorities: Sequence[Rates]) -> Mask:
        """The placement that is best by the first rates, among those by the second, and so on."""
        ...


@dataclass(frozen=True)
class Piece:
    """A placement, and the values of the parameter between which it is the best one."""

    cloud: Mask
    intercept: float
    slope: float
    """Its price is ``intercept + slope * parameter``."""
    low: float = 0.0
    high: float | None = None
    """None: without an upper end."""

    def price(self, parameter: float) -> float:
        """Its price at one value."""
        return self.intercept + self.slope * parameter


@dataclass(frozen=True)
class Band:
    """A placement, and the uplink bandwidths between which it is the best one."""

    cloud: Mask
    min_mbps: float
    max_mbps: float | None
    """None: without an upper end."""

    def covers(self, mbps: float) -> bool:
        """Whether it is best at this bandwidth."""
        return self.min_mbps <= mbps and (self.max_mbps is None or mbps <= self.max_mbps)


def over_bandwidth(solver: Minimizer, family: Family, mbps: float) -> list[Band]:
    """The best placements from the slowest to the fastest uplink; their bandwidths adjoin.

    Args:
        solver: The problem.
        family: Prices over the delay, the seconds per byte sent.
        mbps: A bandwidth that counts even if it is beyond the usual range.
    """
    return bands_of(envelope(solver, family), mbps)


def bands_of(pieces: Sequence[Piece], mbps: float) -> list[Band]:
    """An envelope over the delay as bandwidths, from the slowest uplink on, without what no artifact needs.

    Args:
        pieces: The envelope, their ranges adjoining.
        mbps: A bandwidth that counts even if it is beyond the usual range.
    """
    longest = BITS_PER_MEGABYTE / min(SLOWEST_MBPS, mbps)
    shortest = BITS_PER_MEGABYTE / max(FASTEST_MBPS, mbps)
    pieces = [p for p in pieces if _matters(p, shortest, longest)]
    return [Band(p.cloud, _mbps(p.high) or 0.0, _mbps(p.low)) for p in reversed(_with_ranges(pieces))]


def _mbps(at: float | None) -> float | None:
    return BITS_PER_MEGABYTE / at if at else None


def best_at(bands: Sequence[Band], mbps: float) -> int:
    """Index of the best placement at a bandwidth; at a corner, of the one that sends less."""
    return next(i for i, band in enumerate(bands) if band.covers(mbps))


def envelope(solver: Minimizer, family: Family) -> list[Piece]:
    """The best placements over all values of the parameter from 0 on; their ranges adjoin."""
    first = _piece(solver, family, [family.fixed, family.slope, BYTES_SENT])
    last = _piece(solver, family, [family.slope, family.fixed, BYTES_SENT])
    found, stack = [first], [last]
    while stack:
        between = _between(solver, family, found[-1], stack[-1])
        if between is None:
            found.append(stack.pop())
        else:
            stack.append(between)
    return _with_ranges(_distinct(found))


def lower(pieces: Sequence[Piece]) -> list[Piece]:
    """The lower envelope of some lines, with the range of each."""
    kept: list[Piece] = []
    for piece in sorted(pieces, key=lambda p: (-p.slope, p.intercept)):
        if kept and piece.slope == kept[-1].slope:
            continue
        while kept and _hides(kept, piece):
            kept.pop()
        kept.append(piece)
    return _with_ranges(kept)


def _hides(kept: Sequence[Piece], piece: Piece) -> bool:
    """Whether the last of the kept lines is nowhere the lowest beside a new one."""
    corner = _corner(kept[-1], piece)
    if corner is None or len(kept) == 1:
        return corner is None
    before = _corner(kept[-2], kept[-1])
    return before is None or corner <= before


def _piece(solver: Minimizer, family: Family, priorities: Sequence[Rates]) -> Piece:
    cloud = solver.minimize(priorities)
    return Piece(cloud, *family.line(solver.problem.totals(cloud)))


def _between(solver: Minimizer, family: Family, left: Piece, right: Piece) -> Piece | None:
    """A placement that beats both where their lines meet, if there is one."""
    corner = _corner(left, right)
    if corner is None:
        return None
    found = _piece(solver, family, [family.at(corner), BYTES_SENT])
    beats = found.price(corner) < left.price(corner) - SAME * abs(left.price(corner))
    return found if beats and right.slope < found.slope < left.slope else None


def _corner(left: Piece, right: Piece) -> float | None:
    """The parameter from which on the right piece is the better one."""
    if left.slope <= right.slope:
        return None
    at = (right.intercept - left.intercept) / (left.slope - right.slope)
    return at if at > 0 else None


def _distinct(pieces: Iterable[Piece]) -> list[Piece]:
    """Drop what is the best nowhere, where rounding has left two pieces with no corner between them."""
    kept: list[Piece] = []
    for piece in pieces:
        while kept and piece.slope < kept[-1].slope and _corner(kept[-1], piece) is None:
            kept.pop()
        if not kept or piece.slope < kept[-1].slope:
            kept.append(piece)
    return kept


def _with_ranges(pieces: Sequence[Piece]) -> list[Piece]:
    """Note where neighbours meet."""
    corners = [_corner(left, right) for left, right in itertools.pairwise(pieces)]
    return [
        replace(piece, low=low or 0.0, high=high)
        for piece, low, high in zip(pieces, [None, *corners], [*corners, None], strict=True)
    ]


def _matters(piece: Piece, shortest: float, longest: float) -> bool:
    """Whether it sends nothing, or is the best somewhere between two delays."""
    return piece.slope == 0 or (piece.low < longest and (piece.high is None or piece.high > shortest))
