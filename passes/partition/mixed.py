"""The cut with budgets, or with an objective that is no sum: the same rows, as a mixed-integer program."""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecut.ir.errors import ConstraintError
from edgecut.ir.printer import seconds, size
from edgecut.passes.partition import model
from edgecut.passes.partition.feasible import pin
from edgecut.passes.partition.model import Expression, Model
from edgecut.passes.partition.objective import Rates
from edgecut.passes.partition.problem import Mask, Problem
from edgecut.passes.partition.quantities import Priced, Quantity
from edgecut.passes.partition.solver import Solver, check_finite

SCALE = 1e4
"""Largest coefficient of a scaled row or objective: HiGHS' tolerances (1e-6) become relative to it."""

SLACK = 1e-9
"""Relative room that a budget, or an objective that has been minimized, is given for rounding."""


@dataclass(frozen=True)
class Budget:
    """A quantity and the most that it may be."""

    quantity: Quantity
    limit: float

    def holds(self, problem: Problem, cloud: Mask) -> bool:
        """Whether a placement keeps to it."""
        return self.allows(self.quantity.value(problem, cloud))

    @property
    def most(self) -> float:
        """The limit, with room for rounding."""
        return self.limit + SLACK * max(abs(self.limit), 1e-6)

    def allows(self, value: float) -> bool:
        """Whether a value of the quantity keeps to it."""
        return value <= self.most

    def check(self, problem: Problem, cloud: Mask, name: str) -> None:
        """Raise a `ConstraintError` where the placement of a named cut does not keep to it."""
        if self.holds(problem, cloud):
            return
        unit, value = self.quantity.unit, self.quantity.value(problem, cloud)
        what = f"needs {shown(value, unit)} of {self.quantity.name}; the budget is {shown(self.limit, unit)}"
        raise ConstraintError(what, where=f"--cut {name}", hint="raise it, or choose another cut")


class InfeasibleError(Exception):
    """No placement keeps to all budgets."""


class MixedSolver:
    """Finds best placements of one problem under budgets.

    Raises:
        ConstraintError: No placement is legal.
    """

    def __init__(self, problem: Problem, budgets: Sequence[Budget] = ()) -> None:
        self.problem = problem
        self.budgets = tuple(budgets)
        self._pins = pin(problem)
        self._unbounded = Solver(problem)

    def minimize(self, priorities: Sequence[Rates | Quantity]) -> Mask:
        """The placement that is best by the first quantity, among those by the second, and so on.

        Placements that are equal by all of them are told apart by the number of groups in the cloud: the
        fewest.

        Raises:
            InfeasibleError: No placement keeps to all budgets.
            ConstraintError: A cost is not finite, or the solver gave up.
        """
        rates = [item for item in priorities if isinstance(item, Rates)]
        if len(rates) == len(priorities):
            # A minimum cut takes far less time, and where budgets do not bind it is the answer.
            free = self._unbounded.minimize(rates)
            if all(budget.holds(self.problem, free) for budget in self.budgets):
                return free
        current = model.legal(self.problem, *self._pins)
        current.add_codings()
        for budget in self.budgets:
            current.add_limit(budget.quantity.expression(current), budget.most)
        answer = np.zeros(len(self.problem.groups), bool)
        for quantity in map(_quantity, priorities):
            expression = quantity.expression(current)
            if not expression.values.any():
                continue
            answer, best = solve(current, expression)
            # Columns are whole to 1e-6 only: what the solver calls the best may be a little below what is.
            best = max(best, quantity.value(self.problem, answer))
            current.add_limit(expression, best + SLACK * max(abs(best), np.abs(expression.values).max()))
        return solve(current, current.in_cloud())[0]


def _quantity(item: Rates | Quantity) -> Quantity:
    return Priced("", "", item) if isinstance(item, Rates) else item


def solve(current: Model, expression: Expression) -> tuple[Mask, float]:
    """One optimal placement, and the value of the expression there.

    Raises:
        InfeasibleError: The rows contradict each other.
        ConstraintError: A coefficient is not finite, or the solver gave up.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    cost = expression.dense(current.width)
    check_finite(cost)
    matrix, right = current.matrix(), np.concatenate(current.right)
    factors = SCALE / np.maximum(_row_maxima(matrix), 1e-300)
    groups = len(current.problem.groups)
    coding = np.zeros(0, np.int64) if current.coding is None else current.coding
    integral = np.isin(np.arange(current.width), np.r_[np.arange(groups), coding])
    # Presolving of HiGHS fails, or calls feasible rows infeasible, once in some thousand problems.
    for presolve in (True, False):
        with _silence():
            found = milp(
                cost * (SCALE / np.abs(cost).max()),
                integrality=integral,
                bounds=Bounds(np.concatenate(current.lower), np.concatenate(current.upper)),
                constraints=LinearConstraint(_scaled(matrix, factors), ub=right * factors),
                options={"mip_rel_gap": 0.0, "presolve": presolve},
            )
        if found.status == 0:
            break
    if found.status == 2:
        raise InfeasibleError
    if found.status != 0:
        raise ConstraintError(f"the solver gave up: {found.message}")
    placement = current.problem.joined(found.x[:groups] > 0.5, found.x[coding] > 0.5)
    return placement, float(cost @ found.x) + expression.constant


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what HiGHS prints, whatever its options say, out of the data on stdout."""
    with open(os.devnull, "wb") as nowhere:
        stdout = os.dup(1)
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)


def shown(value: float, unit: str) -> str:
    """A figure for people."""
    if unit == "s":
        return seconds(value)
    if unit == "B":
        return size(value)
    if unit == "%":
        return f"{100 * value:.3g} %"
    if unit == "dB":
        return f"{-10 * math.log10(value):.3g} dB" if value > 0 else "no noise"
    return f"{value:.4g} {unit}".rstrip()


def _row_maxima(matrix: Any) -> Any:
    return abs(matrix).max(axis=1).toarray().ravel()


def _scaled(matrix: Any, factors: Any) -> Any:
    from scipy import sparse

    return sparse.diags_array(factors) @ matrix
