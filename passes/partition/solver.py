"""The cut as a linear program without budgets, solved by HiGHS' simplex method.

With ``w_t = z_t + x_p`` in place of z, every row of `model.legal` is a difference of two columns, so the
matrix is totally unimodular: the program is a minimum cut, and each vertex, which is what the simplex
method returns, is integral. That is verified on every answer.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgecut.ir.errors import ConstraintError
from edgecut.passes.partition import model
from edgecut.passes.partition.feasible import pin
from edgecut.passes.partition.objective import BYTES_SENT, Rates
from edgecut.passes.partition.problem import Floats, Mask, Problem

COST_SCALE = 1e4
"""Largest cost after scaling. HiGHS' tolerances are absolute (1e-7), so ours are relative: 1e-11."""

TIGHT = 1e-6
"""A dual value above this, after scaling, is taken for non-zero; HiGHS' are exact to 1e-7."""

INTEGRAL = 1e-6
"""Distance from 0 or 1 within which HiGHS' answer counts as integral; its own tolerance is 1e-7."""


@dataclass(frozen=True)
class _Face:
    """``matrix @ columns <= 0`` (``== 0`` where equal), ``lower <= columns <= upper``."""

    matrix: Any
    equal: Mask
    lower: Floats
    upper: Floats


class Solver:
    """Finds best placements of one problem, for any number of prices.

    Raises:
        ConstraintError: No placement is legal.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._model = model.legal(problem, *pin(problem))
        (lower,), (upper,) = self._model.lower, self._model.upper
        self._face = _Face(self._model.matrix(), np.zeros(self._model.height, bool), lower, upper)

    def best(self, rates: Rates) -> Mask:
        """The best placement; among equals the one that sends fewer bytes, then the one more on the edge."""
        return self.minimize([rates, BYTES_SENT])

    def minimize(self, priorities: Sequence[Rates]) -> Mask:
        """The placement that is best by the first rates, among those by the second, and so on.

        Placements that are equal by all of them are told apart by the number of groups in the cloud: the
        fewest. The answer is therefore unique.

        Raises:
            ConstraintError: A cost is not finite.
        """
        used, prices = cheapest(self.problem, priorities)
        pairs = zip(priorities, prices, strict=True)
        expressions = [*(self._model.price(rates, price) for rates, price in pairs), self._model.in_cloud()]
        groups = len(self.problem.groups)
        face, answer = self._face, np.zeros(groups)
        for expression in expressions:
            cost = expression.dense(self._model.width)
            if cost.any():
                answer, face = _solve(cost, face)
        return self.problem.joined(np.asarray(answer[:groups] > 0.5), used)


def cheapest(problem: Problem, priorities: Sequence[Rates]) -> tuple[Mask, list[Floats]]:
    """How each tensor is best sent if it crosses: which codings are used, and its price by each rates.

    Without budgets tensors do not depend on each other in this, so that a minimum cut remains one. Of
    equal ways the earlier is taken, and as it is held first.
    """
    codings, sent = problem.codings, [model.sending(problem, rates) for rates in priorities]
    prices = [held.copy() for held, _ in sent]
    used = np.zeros(len(codings.names), bool)
    by_tensor: dict[int, list[int]] = {}
    for coding, tensor in enumerate(codings.tensor.tolist()):
        by_tensor.setdefault(tensor, []).append(coding)
    for tensor, ways in by_tensor.items():
        costs = [(tuple(float(coded[k]) for _, coded in sent), k) for k in ways]
        if not codings.only:
            costs.append((tuple(float(held[tensor]) for held, _ in sent), -1))
        cost, best = min(costs)
        for price, value in zip(prices, cost, strict=True):
            price[tensor] = value
        if best >= 0:
            used[best] = True
    return used, prices


def check_finite(cost: Floats) -> None:
    """Raise a `ConstraintError` where a cost is not a finite number."""
    if not np.isfinite(cost).all():
        raise ConstraintError("a cost is not a finite number", hint="profile again")


def _solve(cost: Floats, face: _Face) -> tuple[Floats, _Face]:
    """One optimal vertex, and the face of all optimal points.

    By complementary slackness a row with a dual value holds with equality in every optimum, and a
    column with a reduced cost stays at its bound. What remains is again a system of differences.
    """
    from scipy.optimize import OptimizeWarning, linprog

    check_finite(cost)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        found = linprog(
            cost * (COST_SCALE / np.abs(cost).max()),
            A_ub=face.matrix[~face.equal],
            b_ub=np.zeros(int((~face.equal).sum())),
            A_eq=face.matrix[face.equal],
            b_eq=np.zeros(int(face.equal.sum())),
            bounds=np.stack([face.lower, face.upper], axis=1),
            method="highs-ds",
        )
    if found.status != 0:
        raise ConstraintError(f"the solver gave up: {found.message}")
    if np.abs(found.x - np.rint(found.x)).max() > INTEGRAL:
        raise ConstraintError("the solver's answer is not integral", hint="please report this as a bug")
    equal = face.equal.copy()
    equal[~face.equal] = found.ineqlin.marginals < -TIGHT
    lower = np.where(found.upper.marginals < -TIGHT, face.upper, face.lower)
    upper = np.where(found.lower.marginals > TIGHT, face.lower, face.upper)
    return np.rint(found.x), replace(face, equal=equal, lower=lower, upper=upper)
