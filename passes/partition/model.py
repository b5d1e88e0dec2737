"""The rows and columns of the cut as a linear program, to which objectives and budgets add their own.

x_p <= x_r              group r reads from group p: nothing flows back to the edge
x_r - x_p <= z_t        r reads tensor t of p: t crosses, and is paid once
x_r <= y                anything in the cloud costs a round trip
0 <= x, y, z <= 1       x_g = 1: group g runs in the cloud
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecut.passes.partition.objective import Rates
from edgecut.passes.partition.problem import INPUT, Floats, Ints, Mask, Problem


@dataclass(frozen=True)
class Expression:
    """``constant + sum of values * columns``."""

    columns: Ints
    values: Floats
    constant: float = 0.0

    def dense(self, width: int) -> Floats:
        """Coefficients of all columns."""
        found = np.zeros(width)
        np.add.at(found, self.columns, self.values)
        return found


def sending(problem: Problem, rates: Rates) -> tuple[Floats, Floats]:
    """Prices of sending each tensor as it is held, and by each coding."""
    codings = problem.codings
    seconds = rates.edge_s * codings.encode_s + rates.cloud_s * codings.decode_s
    return rates.up_byte * problem.size.astype(float), rates.up_byte * codings.size + seconds


@dataclass
class Model:
    """Rows ``matrix @ columns <= right``, built in pieces; columns are groups, tensors, y, and more."""

    problem: Problem
    lower: list[Floats]
    upper: list[Floats]
    width: int
    height: int = 0
    entries: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)
    right: list[Floats] = field(default_factory=list)
    coding: Ints | None = None
    """The columns of the codings, where there are any."""

    @property
    def offload(self) -> int:
        """The column that is 1 if anything runs in the cloud."""
        return len(self.problem.groups) + len(self.problem.tensors)

    def crossing(self, tensors: Ints) -> Ints:
        """The columns that are 1 where these tensors cross."""
        return tensors + len(self.problem.groups)

    def add_columns(self, count: int) -> Ints:
        """New columns, 0 or more."""
        self.lower.append(np.zeros(count))
        self.upper.append(np.full(count, np.inf))
        self.width += count
        return np.arange(self.width - count, self.width)

    def add_rows(self, rows: Any, columns: Any, values: Any, right: Floats) -> None:
        """New rows; an entry that is given twice counts twice.

        Args:
            rows: Index of each entry's row, counted from the first new one.
            columns: Index of its column.
            values: Its coefficient.
            right: Right side of each row.
        """
        at = np.asarray(rows, np.int64) + self.height
        self.entries.append((at, np.asarray(columns, np.int64), np.asarray(values, float)))
        self.right.append(right)
        self.height += len(right)

    def add_limit(self, expression: Expression, limit: float) -> None:
        """A row that keeps an expression at or below a limit."""
        rows = np.zeros(len(expression.columns))
        self.add_rows(rows, expression.columns, expression.values, np.array([limit - expression.constant]))

    def differences(self, left: Ints, right: Ints) -> None:
        """Rows ``left <= right`` between columns."""
        count = len(left)
        rows = np.tile(np.arange(count), 2)
        self.add_rows(rows, np.r_[left, right], np.repeat([1.0, -1.0], count), np.zeros(count))

    def matrix(self) -> Any:
        """The rows as a sparse matrix."""
        from scipy import sparse

        rows, columns, values = (np.concatenate(part) for part in zip(*self.entries, strict=True))
        return sparse.csr_array((values, (rows, columns)), shape=(self.height, self.width))

    def add_codings(self) -> None:
        """Columns that are 1 where a coding is used: at most one of a tensor, and only where it crosses."""
        codings, count = self.problem.codings, len(self.problem.codings.names)
        if not count or self.coding is not None:
            return
        self.coding = self.add_columns(count)
        self.upper[-1][:] = 1.0
        tensors, which = np.unique(codings.tensor, return_inverse=True)
        rows, columns = np.r_[which, np.arange(len(tensors))], np.r_[self.coding, self.crossing(tensors)]
        values = np.r_[np.ones(count), -np.ones(len(tensors))]
        self.add_rows(rows, columns, values, np.zeros(len(tensors)))
        if codings.only:
            self.add_rows(rows, columns, -values, np.zeros(len(tensors)))

    def price(self, rates: Rates, crossing: Floats | None = None) -> Expression:
        """The price of a placement.

        Args:
            rates: Prices of what it adds up to.
            crossing: Per tensor, the price of sending it; by default as held, or by its coding's column.
        """
        held, coded = sending(self.problem, rates)
        whole = self._price(rates, held if crossing is None else crossing)
        if self.coding is None or crossing is not None:
            return whole
        more = coded - held[self.problem.codings.tensor]
        return Expression(np.r_[whole.columns, self.coding], np.r_[whole.values, more], whole.constant)

    def _price(self, rates: Rates, crossing: Floats) -> Expression:
        problem = self.problem
        work = rates.cloud_s * problem.cloud_s - rates.edge_s * problem.edge_s
        offload = rates.offload + rates.down_byte * problem.fixed_answer
        values: Floats = np.concatenate(
            [work + rates.down_byte * problem.answer, crossing, np.array([offload])]
        )
        return Expression(np.arange(len(values)), values, rates.edge_s * float(problem.edge_s.sum()))

    def in_cloud(self) -> Expression:
        """The number of groups in the cloud."""
        groups = len(self.problem.groups)
        return Expression(np.arange(groups), np.ones(groups))


def legal(problem: Problem, on_edge: Mask, in_cloud: Mask) -> Model:
    """The model whose integral points are the legal placements.

    Args:
        problem: Groups and tensors.
        on_edge: Groups that are on the edge in every legal placement.
        in_cloud: Groups that are in the cloud in every legal placement.
    """
    groups, tensors = len(problem.groups), len(problem.tensors)
    lower = np.r_[in_cloud.astype(float), np.zeros(tensors + 1)]
    upper = np.r_[1.0 - on_edge, 1.0 - problem.sealed, 1.0]
    model = Model(problem, [lower], [upper], groups + tensors + 1)
    model.differences(*problem.arcs)
    count, producer = len(problem.read_tensor), problem.producer[problem.read_tensor]
    inner = np.flatnonzero(producer != INPUT)
    model.add_rows(
        np.r_[np.arange(count), inner, np.arange(count)],
        np.r_[problem.read_group, producer[inner], model.crossing(problem.read_tensor)],
        np.r_[np.ones(count), -np.ones(len(inner) + count)],
        np.zeros(count),
    )
    # What a group in the cloud feeds is in the cloud too: the groups that feed no other suffice.
    last = np.flatnonzero([not children for children in problem.children])
    model.differences(last, np.full(len(last), model.offload))
    return model
