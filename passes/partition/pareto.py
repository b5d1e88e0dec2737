"""The supported Pareto front: every cut that is the best for some weights of two or three objectives.

The best weighted price, over all weights that sum to 1, is the lower envelope of one plane per cut. Its
corners are tried one after the other: either a better cut shows up there, which adds a plane, or the
corner is final. When all are final, no cut is missing.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgecut.ir.annotations import Cut
from edgecut.ir.errors import UsageError
from edgecut.passes.partition.infeasible import explained
from edgecut.passes.partition.mixed import MixedSolver
from edgecut.passes.partition.objective import LINEAR, UNITS, Rates
from edgecut.passes.partition.planning import Posed, Request
from edgecut.passes.partition.problem import Floats, Mask

SAME = 1e-9
"""Relative difference below which two weighted prices count as equal."""

MOST = 3


@dataclass(frozen=True)
class Point:
    """A cut of the front, and its prices in the order of the objectives."""

    cut: Cut
    prices: tuple[float, ...]


@dataclass(frozen=True)
class Front:
    """The supported front, by the first objective."""

    objectives: tuple[str, ...]
    units: tuple[str, ...]
    points: tuple[Point, ...]


def front(posed: Posed, request: Request, objectives: Sequence[str]) -> Front:
    """Find the supported front of some objectives, within the request's budgets.

    Raises:
        UsageError: Not two or three different known objectives, or targets lack figures.
        ConstraintError: No cut is legal and within the budgets.
    """
    unknown = [name for name in objectives if name not in LINEAR]
    if unknown or not 2 <= len(set(objectives)) == len(objectives) <= MOST:
        hint = f"two or three of: {', '.join(LINEAR)}"
        raise UsageError(f"is {','.join(objectives)!r}", where="--pareto", hint=hint)
    at = request.situation
    prices = [LINEAR[name](at).at(at.delay) for name in objectives]
    with explained(posed.problem, request.budgets):
        found = _Search(MixedSolver(posed.problem, request.budgets), prices).run()
    points = [Point(posed.cut(cloud), tuple(values.tolist())) for cloud, values in found]
    units = tuple(UNITS[name] for name in objectives)
    return Front(tuple(objectives), units, tuple(sorted(points, key=lambda p: p.prices)))


class _Search:
    def __init__(self, solver: MixedSolver, prices: Sequence[Rates]) -> None:
        self.solver = solver
        self.prices = prices
        self.clouds: list[Mask] = []
        self.values: list[Floats] = []
        for first in range(len(prices)):
            rest = [p for i, p in enumerate(prices) if i != first]
            self._add([prices[first], *rest])
        # Objectives have units of their own: weights count after each is scaled to its largest value here.
        self.scale = np.maximum(np.abs(self.values).max(axis=0), 1e-300)

    def run(self) -> list[tuple[Mask, Floats]]:
        final: set[tuple[float, ...]] = set()
        while True:
            corners = [w for w in self._corners() if tuple(np.round(w, 12)) not in final]
            if not corners:
                return self._efficient()
            for weights in corners:
                final.add(tuple(np.round(weights, 12)))
                if self._improves(weights):
                    break

    def _improves(self, weights: Floats) -> bool:
        rates = Rates()
        for price, weight in zip(self.prices, weights / self.scale, strict=True):
            rates = rates + price * float(weight)
        even = Rates()
        for price, scale in zip(self.prices, self.scale, strict=True):
            even = even + price * (1.0 / float(scale))
        before = min(float(v @ (weights / self.scale)) for v in self.values)
        added = self._add([rates, even])
        return added and float(self.values[-1] @ (weights / self.scale)) < before * (1 - SAME)

    def _add(self, priorities: Sequence[Rates]) -> bool:
        cloud = self.solver.minimize(priorities)
        if any(np.array_equal(cloud, other) for other in self.clouds):
            return False
        totals = self.solver.problem.totals(cloud)
        self.clouds.append(cloud)
        self.values.append(np.array([price.price(totals) for price in self.prices]))
        return True

    def _corners(self) -> list[Floats]:
        """Weights where as many planes meet as there are objectives; the borders are planes too."""
        planes = np.array(self.values) / self.scale
        size = planes.shape[1]
        # Unknowns: weights and height. A cut's row: weights @ values - height = 0; a border's: weight_i = 0.
        rows = np.vstack([np.c_[planes, -np.ones(len(planes))], np.c_[np.eye(size), np.zeros(size)]])
        total = np.r_[np.ones(size), 0.0]
        found = []
        for chosen in itertools.combinations(range(len(rows)), size):
            system = np.vstack([rows[list(chosen)], total])
            if abs(np.linalg.det(system)) < 1e-14:
                continue
            corner = np.linalg.solve(system, np.r_[np.zeros(size), 1.0])
            weights, height = corner[:size], corner[size]
            if weights.min() > -SAME and height <= (planes @ weights).min() + SAME:
                found.append(np.clip(weights, 0.0, None))
        return found

    def _efficient(self) -> list[tuple[Mask, Floats]]:
        """Without what another cut beats in one objective and equals in the others."""
        values = np.array(self.values)
        room = SAME * self.scale
        kept = []
        for i, own in enumerate(values):
            as_good = (values <= own + room).all(axis=1)
            better = (values < own - room).any(axis=1)
            twin = any(np.abs(values[j] - own).max() == 0 for j in range(i))
            if not (as_good & better).any() and not twin:
                kept.append((self.clouds[i], own))
        return kept
