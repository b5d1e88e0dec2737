"""Chooses the cut of each request.

A policy is a class found by name: those below, and those that an installed package offers in the
entry-point group ``edgecut.policies``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Optional

from edgecut.ir.errors import UsageError
from edgecut.ir.manifest import CutRecord
from edgecut.runtime.estimate import Estimates

GROUP = "edgecut.policies"


class Policy:
    """Base of all policies. One object serves one session."""

    def choose(self, cuts: Sequence[CutRecord], estimates: Estimates) -> CutRecord:
        """The cut to use now.

        Args:
            cuts: Those that may be used, the manifest's best first; never empty.
            estimates: What is known about device, network and server.
        """
        raise NotImplementedError

    def observe(self, cut: CutRecord, value: float) -> None:
        """Told what each request that was answered has cost, in the unit of the build's objective."""


class Fixed(Policy):
    """Always the manifest's first cut."""

    def choose(self, cuts: Sequence[CutRecord], estimates: Estimates) -> CutRecord:
        """The first."""
        return cuts[0]


class Table(Policy):
    """The cut that the compiler found best at the estimated bandwidth."""

    def choose(self, cuts: Sequence[CutRecord], estimates: Estimates) -> CutRecord:
        """The cut whose range of bandwidths holds the estimate, else the first."""
        mbps = estimates.up_mbps
        for cut in cuts:
            top = math.inf if cut.max_mbps is None else cut.max_mbps
            if cut.min_mbps <= mbps < top:
                return cut
        return cuts[0]


class Feedback(Policy):
    """The cut with the least predicted cost (time, energy or money), corrected by what is measured.

    It stays with its cut until another is better by a margin, and tries a cut that it has not seen for
    long only when what this is predicted to waste is a small share of what was spent since; one request's
    worth may be wasted at the start.

    Args:
        margin: Share by which another cut must be better.
        explore: Share of the cost that may be wasted on trying other cuts.
        stale_after: Requests after which a cut that was not used is worth a try.
    """

    def __init__(self, *, margin: float = 0.05, explore: float = 0.003, stale_after: int = 20) -> None:
        self._margin = margin
        self._explore = explore
        self._stale_after = stale_after
        self._current: Optional[str] = None
        self._held = 0.0
        self._budget = 0.0
        self._now = 0
        self._used: dict[str, int] = {}

    def choose(self, cuts: Sequence[CutRecord], estimates: Estimates) -> CutRecord:
        """The best by prediction, the current one if that is about as good, or one to try."""
        values = dict(zip((cut.name for cut in cuts), estimates.values(cuts)))
        best = min(cuts, key=lambda cut: values[cut.name])
        held = next((cut for cut in cuts if cut.name == self._current), best)
        if values[best.name] < (1 - self._margin) * values[held.name]:
            held = best
        if self._current is None:
            self._budget = values[held.name]
        self._current, self._held = held.name, values[held.name]
        return self._trial(cuts, values) or held

    def observe(self, cut: CutRecord, value: float) -> None:
        """Count the use, and put a share of its cost aside for trials."""
        self._now += 1
        self._used[cut.name] = self._now
        self._budget += self._explore * value
        if cut.name != self._current:
            self._budget -= max(value - self._held, 0.0)

    def _trial(self, cuts: Sequence[CutRecord], values: dict[str, float]) -> Optional[CutRecord]:
        ages = {cut.name: self._now - self._used.get(cut.name, 0) for cut in cuts}
        stale = [c for c in cuts if ages[c.name] > self._stale_after and c.name != self._current]
        if not stale:
            return None
        waste = {cut.name: max(values[cut.name] - self._held, 0.0) for cut in stale}
        # What was never seen comes first. Else: the dearer a trial, the rarer; but an old one's turn comes,
        # however cheap the others are.
        chosen = min(stale, key=lambda cut: (cut.name in self._used, waste[cut.name] / ages[cut.name]))
        return chosen if waste[chosen.name] <= self._budget else None


POLICIES: dict[str, type[Policy]] = {"feedback": Feedback, "fixed": Fixed, "table": Table}


def load(name: str) -> Policy:
    """A new policy of this name.

    Raises:
        UsageError: There is none, or its package does not load.
    """
    if name in POLICIES:
        return POLICIES[name]()
    points = {point.name: point for point in _entry_points()}
    if name not in points:
        have = ", ".join(sorted({*POLICIES, *points}))
        raise UsageError(f"unknown policy {name!r}", hint=f"one of: {have}")
    try:
        found = points[name].load()()
    except Exception as error:  # a foreign package may fail in any way; say whose failure it is
        raise UsageError(f"policy {name!r} does not load: {error}") from error
    if not isinstance(found, Policy):
        raise UsageError(f"entry point {name!r} of {GROUP} is no policy")
    return found


def _entry_points() -> Sequence[Any]:
    try:
        return list(metadata.entry_points(group=GROUP))
    except TypeError:  # Python 3.9 gives a dict of all groups
        everything: Any = metadata.entry_points()
        return list(everything.get(GROUP, ()))
