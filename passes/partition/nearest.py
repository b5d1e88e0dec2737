"""Budgets that no placement keeps to together, widened by as little as it takes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgecut.passes.partition import model
from edgecut.passes.partition.feasible import pin
from edgecut.passes.partition.mixed import Budget, InfeasibleError, MixedSolver, shown, solve
from edgecut.passes.partition.model import Expression
from edgecut.passes.partition.objective import BYTES_SENT
from edgecut.passes.partition.problem import Mask, Problem


def widened(problem: Problem, budgets: Sequence[Budget], forced: Mask | None = None) -> tuple[Budget, ...]:
    """Budgets that some placement keeps to: the given ones, where they are such.

    Else each limit is raised by a share of its own, and the sum of the shares is the least possible.

    Args:
        problem: Groups and tensors.
        budgets: What is wanted.
        forced: A placement that has to keep to them, whatever that takes.

    Raises:
        ConstraintError: No placement is legal, whatever the budgets.
    """
    placement = _nearest(problem, budgets) if forced is None else forced
    if placement is None:
        return tuple(budgets)
    values = [budget.quantity.value(problem, placement) for budget in budgets]
    return tuple(replace(b, limit=max(b.limit, value)) for b, value in zip(budgets, values, strict=True))


def described(before: Sequence[Budget], after: Sequence[Budget]) -> list[str]:
    """What was widened, a sentence each."""
    return [
        f"the {old.quantity.name} budget of {shown(old.limit, old.quantity.unit)} cannot be met: "
        f"went on with {shown(new.limit, new.quantity.unit)}"
        for old, new in zip(before, after, strict=True)
        if not old.allows(new.limit)
    ]


def _nearest(problem: Problem, budgets: Sequence[Budget]) -> Mask | None:
    """The placement with the least sum of relative excesses; None where it is not needed."""
    try:
        MixedSolver(problem, budgets).minimize([BYTES_SENT])
    except InfeasibleError:
        pass
    else:
        return None
    current = model.legal(problem, *pin(problem))
    current.add_codings()
    excess = current.add_columns(len(budgets))
    for budget, column in zip(budgets, excess, strict=True):
        needs = budget.quantity.expression(current)
        columns, values = np.r_[needs.columns, column], np.r_[needs.values, -(budget.limit or 1.0)]
        current.add_limit(Expression(columns, values, needs.constant), budget.limit)
    placement, _ = solve(current, Expression(excess, np.ones(len(excess))))
    return placement
