"""The cut as a linear program, solved by HiGHS.

    minimize    sum_g  edge_g (1 - x_g) + cloud_g x_g  +  sum_t  size_t z_t  +  offload y
    subject to  x_p <= x_r              group r reads from group p: nothing flows back to the edge
                x_r - x_p <= z_t        r reads tensor t of p: t crosses, and is paid once
                x_r <= y                anything in the cloud costs a round trip
                0 <= x, y, z <= 1       x_g = 1: group g runs in the cloud

After ``w_t = z_t + x_p`` every row is a difference of two variables, so the matrix is totally
unimodular: the program is a minimum cut, and each vertex, which is what the simplex method returns,
is integral. That is verified on every answer.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgecut.ir.errors import ConstraintError
from edgecut.passes.partition.feasible import pin
from edgecut.passes.partition.objective import BYTES_SENT, Rates
from edgecut.passes.partition.problem import INPUT, Floats, Mask, Problem

COST_SCALE = 1e4
"""Largest cost after scaling. HiGHS' tolerances are absolute (1e-7), so ours are relative: 1e-11."""

TIGHT = 1e-6
"""A dual value above this, after scaling, is taken for non-zero; HiGHS' are exact to 1e-7."""

INTEGRAL = 1e-6
"""Distance from 0 or 1 within which HiGHS' answer counts as integral; its own tolerance is 1e-6."""


@dataclass(frozen=True)
class _Rows:
    """``matrix @ variables <= 0`` (``== 0`` where equal), ``lower <= variables <= upper``."""

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
        self._rows = _rows(problem, *pin(problem))

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
        costs = [_costs(self.problem, rates) for rates in priorities]
        groups = len(self.problem.groups)
        costs.append(np.repeat([1.0, 0.0], [groups, len(self.problem.tensors) + 1]))
        rows, answer = self._rows, np.zeros(groups)
        for cost in costs:
            if cost.any():
                answer, rows = _solve(cost, rows)
        return np.asarray(answer[:groups] > 0.5)


def _costs(problem: Problem, rates: Rates) -> Floats:
    """Coefficients of the variables: groups, tensors, and the round trip."""
    work = rates.cloud_s * problem.cloud_s - rates.edge_s * problem.edge_s
    offload = rates.offload + rates.down_byte * problem.fixed_answer
    costs: Floats = np.concatenate(
        [work + rates.down_byte * problem.answer, rates.up_byte * problem.size, np.array([offload])]
    )
    if not np.isfinite(costs).all():
        raise ConstraintError("a cost is not a finite number", hint="profile again")
    return costs


def _rows(problem: Problem, on_edge: Mask, in_cloud: Mask) -> _Rows:
    groups, tensors = len(problem.groups), len(problem.tensors)
    sources, readers = problem.arcs
    producer = problem.producer[problem.read_tensor]
    inner = producer != INPUT
    count = len(producer)
    last = np.flatnonzero([not children for children in problem.children])
    offload = groups + tensors
    blocks = [
        _differences(sources, readers),
        (
            np.r_[np.arange(count), np.flatnonzero(inner), np.arange(count)],
            np.r_[problem.read_group, producer[inner], groups + problem.read_tensor],
            np.r_[np.ones(count), -np.ones(inner.sum() + count)],
        ),
        # What a group in the cloud feeds is in the cloud too: the groups that feed no other suffice.
        _differences(last, np.full(len(last), offload)),
    ]
    return _Rows(
        matrix=_stack(blocks, [len(sources), count, len(last)], offload + 1),
        equal=np.zeros(len(sources) + count + len(last), bool),
        lower=np.r_[in_cloud.astype(float), np.zeros(tensors + 1)],
        upper=np.r_[1.0 - on_edge, 1.0 - problem.sealed, 1.0],
    )


def _differences(left: Any, right: Any) -> tuple[Any, Any, Any]:
    count = len(left)
    return np.tile(np.arange(count), 2), np.r_[left, right], np.repeat([1.0, -1.0], count)


def _stack(blocks: Sequence[tuple[Any, Any, Any]], heights: Sequence[int], width: int) -> Any:
    from scipy import sparse

    matrices = [
        sparse.csr_array((values, (rows, columns)), shape=(height, width))
        for (rows, columns, values), height in zip(blocks, heights, strict=True)
    ]
    return sparse.vstack(matrices, format="csr")


def _solve(cost: Floats, rows: _Rows) -> tuple[Floats, _Rows]:
    """One optimal vertex, and the rows narrowed to all optimal points.

    By complementary slackness a row with a dual value holds with equality in every optimum, and a
    variable with a reduced cost stays at its bound. What remains is again a system of differences.
    """
    from scipy.optimize import OptimizeWarning, linprog

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        found = linprog(
            cost * (COST_SCALE / np.abs(cost).max()),
            A_ub=rows.matrix[~rows.equal],
            b_ub=np.zeros(int((~rows.equal).sum())),
            A_eq=rows.matrix[rows.equal],
            b_eq=np.zeros(int(rows.equal.sum())),
            bounds=np.stack([rows.lower, rows.upper], axis=1),
            method="highs-ds",
        )
    if found.status != 0:
        raise ConstraintError(f"the solver gave up: {found.message}")
    if np.abs(found.x - np.rint(found.x)).max() > INTEGRAL:
        raise ConstraintError("the solver's answer is not integral", hint="please report this as a bug")
    equal = rows.equal.copy()
    equal[~rows.equal] = found.ineqlin.marginals < -TIGHT
    lower = np.where(found.upper.marginals < -TIGHT, rows.upper, rows.lower)
    upper = np.where(found.lower.marginals > TIGHT, rows.lower, rows.upper)
    return np.rint(found.x), replace(rows, equal=equal, lower=lower, upper=upper)
