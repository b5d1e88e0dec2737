"""Why no placement keeps to all budgets: which of them is too tight, by how much, and what would do."""

import contextlib
import math
from collections.abc import Iterator, Sequence

from edgecut.ir.errors import ConstraintError
from edgecut.passes.partition.mixed import Budget, InfeasibleError, MixedSolver, shown
from edgecut.passes.partition.problem import Problem


@contextlib.contextmanager
def explained(problem: Problem, budgets: Sequence[Budget]) -> Iterator[None]:
    """Turn an `InfeasibleError` into an error that a user can act on."""
    try:
        yield
    except InfeasibleError as error:
        raise _explanation(problem, budgets) from error


def _explanation(problem: Problem, budgets: Sequence[Budget]) -> ConstraintError:
    for budget in budgets:
        least = _least(problem, budget, ())
        if least is not None and least > budget.limit:
            what = f"no cut keeps to the {_name(budget)}: the least that any needs is {_of(budget, least)}"
            return ConstraintError(
                f"{what}, {_over(budget, least)}", hint=f"{_relax(budget)} it to {_of(budget, least)}"
            )
    relaxed = []
    for budget in budgets:
        least = _least(problem, budget, [other for other in budgets if other is not budget])
        if least is not None:
            relaxed.append(f"{_relax(budget)} {budget.quantity.name} to {_of(budget, least)}")
    names = ", ".join(_name(budget) for budget in budgets)
    hint = " or ".join(relaxed) if relaxed else "relax more than one of them"
    return ConstraintError(f"no cut keeps to all of these together: {names}", hint=hint)


def _least(problem: Problem, budget: Budget, others: Sequence[Budget]) -> float | None:
    """The least value of a budget's quantity while others hold, or None if they contradict each other."""
    try:
        cloud = MixedSolver(problem, others).minimize([budget.quantity])
    except InfeasibleError:
        return None
    return budget.quantity.value(problem, cloud)


def _over(budget: Budget, least: float) -> str:
    if budget.quantity.unit == "dB":
        return f"{10 * math.log10(least / budget.limit):.3g} dB worse"
    return f"{_of(budget, least - budget.limit)} more"


def _relax(budget: Budget) -> str:
    return "lower" if budget.quantity.unit == "dB" else "raise"


def _name(budget: Budget) -> str:
    return f"{budget.quantity.name} budget of {_of(budget, budget.limit)}"


def _of(budget: Budget, value: float) -> str:
    return shown(value, budget.quantity.unit)
