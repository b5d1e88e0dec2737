"""What may be minimized or kept within a budget: each can value a placement, and write itself as rows."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgecut.passes.partition.model import Expression, Model
from edgecut.passes.partition.objective import Rates
from edgecut.passes.partition.problem import INPUT, Floats, Ints, Mask, Problem, Totals


class Quantity(Protocol):
    """A figure of a placement."""

    @property
    def name(self) -> str:
        """What a user calls it."""
        ...

    @property
    def unit(self) -> str:
        """Of its value: s, J, USD, B, or empty for a count."""
        ...

    def value(self, problem: Problem, cloud: Mask) -> float:
        """The figure of one placement."""
        ...

    def expression(self, model: Model) -> Expression:
        """The figure as a sum of columns, which may be ones that this adds to the model.

        Columns that it adds may be above the figure; where they are kept small they are equal to it.
        """
        ...


@dataclass(frozen=True)
class Priced:
    """A price of the totals: latency, energy, cost, or a weighted sum."""

    name: str
    unit: str
    rates: Rates

    def value(self, problem: Problem, cloud: Mask) -> float:
        """The price of one placement."""
        return self.rates.price(problem.totals(cloud))

    def expression(self, model: Model) -> Expression:
        """The price as a sum of columns."""
        return model.price(self.rates)


@dataclass(frozen=True)
class Crossings:
    """The number of tensors that cross."""

    name: str = "crossings"
    unit: str = ""

    def value(self, problem: Problem, cloud: Mask) -> float:
        """The number for one placement."""
        return float(problem.crossing(cloud).sum())

    def expression(self, model: Model) -> Expression:
        """The number as a sum of columns."""
        tensors = len(model.problem.tensors)
        return Expression(model.crossing(np.arange(tensors)), np.ones(tensors))


@dataclass(frozen=True)
class Damage:
    """What low precision does to the outputs: of the groups on either side, and of the codings, added up."""

    kind: str
    name: str
    unit: str

    def value(self, problem: Problem, cloud: Mask) -> float:
        """The sum for one placement."""
        sides, used = problem.sides(cloud), problem.coded(cloud)
        edge, there = self._groups(problem)
        return float(edge[~sides].sum() + there[sides].sum() + self._codings(problem)[used].sum())

    def expression(self, model: Model) -> Expression:
        """The sum as a sum of columns."""
        edge, there = self._groups(model.problem)
        columns, values = np.arange(len(edge)), there - edge
        if model.coding is not None:
            columns, values = np.r_[columns, model.coding], np.r_[values, self._codings(model.problem)]
        return Expression(columns, values, float(edge.sum()))

    def _groups(self, problem: Problem) -> tuple[Floats, Floats]:
        nothing = np.zeros(len(problem.groups))
        return problem.damage.get(self.kind, (nothing, nothing))

    def _codings(self, problem: Problem) -> Floats:
        return problem.codings.damage.get(self.kind, np.zeros(len(problem.codings.names)))


@dataclass(frozen=True)
class Chosen:
    """The number of codings that are used, of some that do too much together."""

    codings: tuple[int, ...]
    cut: str
    """The name of the cut that showed it."""
    name: str = "encodings"
    unit: str = ""

    def value(self, problem: Problem, cloud: Mask) -> float:
        """The number for one placement."""
        return float(problem.coded(cloud)[list(self.codings)].sum())

    def expression(self, model: Model) -> Expression:
        """The number as a sum of columns; 0 where the model has no codings."""
        columns = np.zeros(0, np.int64) if model.coding is None else model.coding[list(self.codings)]
        return Expression(columns, np.ones(len(columns)))


@dataclass(frozen=True)
class Bottleneck:
    """Seconds of the slowest stage when inferences follow each other as in a pipeline."""

    stages: tuple[Rates, ...]
    name: str = "throughput"
    unit: str = "s"

    def value(self, problem: Problem, cloud: Mask) -> float:
        """Seconds per inference of one placement."""
        return self.price(problem.totals(cloud))

    def price(self, totals: Totals) -> float:
        """Seconds per inference."""
        return max(stage.price(totals) for stage in self.stages)

    def expression(self, model: Model) -> Expression:
        """A column that no stage exceeds."""
        slowest = model.add_columns(1)
        for stage in self.stages:
            price = model.price(stage)
            columns, values = np.r_[price.columns, slowest], np.r_[price.values, -1.0]
            model.add_limit(Expression(columns, values, price.constant), 0.0)
        return Expression(slowest, np.ones(1))


@dataclass(frozen=True)
class Memory:
    """Bytes that the edge needs at once: all its weights, and the most that is alive while it runs.

    Groups run in order. While one runs, alive are the tensors that it or a later one reads (whichever
    side that is on), those that are to be sent, and the finished graph outputs.
    """

    name: str = "memory"
    unit: str = "B"

    def value(self, problem: Problem, cloud: Mask) -> float:
        """Bytes for one placement; 0 where nothing runs on the edge."""
        cloud = problem.sides(cloud)
        on_edge = np.flatnonzero(~cloud)
        if not len(on_edge):
            return 0.0
        first, last = _lifetimes(problem)
        kept = problem.crossing(cloud)
        made = ~problem.made_in_cloud(cloud)
        outputs = np.cumsum(np.where(cloud, 0, problem.answer))
        alive = [made & (first <= k) & ((last >= k) | kept) for k in on_edge]
        needs = [int(problem.size[mask].sum() + outputs[k]) for mask, k in zip(alive, on_edge, strict=True)]
        return float(problem.weights[~cloud].sum() + max(needs))

    def expression(self, model: Model) -> Expression:
        """A column that the need is nowhere above.

        ``done_k`` sums what is finished before group k and has to stay. Row k, which only counts where
        group k is on the edge: ``weights + (alive at k) + done_k <= peak``.
        """
        problem = model.problem
        groups, scale = len(problem.groups), max(_everything(problem), 1.0)
        first, last = _lifetimes(problem)
        peak, weights, done = model.add_columns(1), model.add_columns(1), model.add_columns(groups)
        ids = np.arange(groups)
        # weights >= sum of (1 - x) * weight
        columns, values = np.r_[ids, weights], np.r_[-problem.weights, -scale] / scale
        model.add_limit(Expression(columns, values, float(problem.weights.sum()) / scale), 0.0)
        self._add_done(model, done, last, scale)
        tensors, at = _alive(first, last, groups)
        producer = problem.producer[tensors]
        inner = producer != INPUT
        size = problem.size[tensors] / scale
        model.add_rows(
            np.r_[at[inner], np.tile(ids, 4)],
            np.r_[producer[inner], done, np.repeat(weights, groups), np.repeat(peak, groups), ids],
            np.r_[-size[inner], np.repeat([1.0, 1.0, -1.0, -2.0], groups)],
            -np.bincount(at, size, groups).astype(np.float64),
        )
        return Expression(peak, np.array([scale]))

    def _add_done(self, model: Model, done: Ints, last: Ints, scale: float) -> None:
        """``done_k >= done_(k-1) + (sent after their last reader k-1) + (outputs of k)``."""
        problem, groups, ids = model.problem, len(done), np.arange(len(done))
        size, answer = problem.size / scale, problem.answer / scale
        ended = np.flatnonzero(last < groups - 1)
        model.add_rows(
            np.r_[ids, ids[1:], last[ended] + 1, ids],
            np.r_[done, done[:-1], model.crossing(ended), ids],
            np.r_[-np.ones(groups), np.ones(groups - 1), size[ended], -answer],
            -answer,
        )


def _lifetimes(problem: Problem) -> tuple[Ints, Ints]:
    """Per tensor: the group that makes it (-1 for an input), and the last group that reads it."""
    last = np.full(len(problem.tensors), -1, np.int64)
    np.maximum.at(last, problem.read_tensor, problem.read_group)
    return problem.producer, last


def _alive(first: Ints, last: Ints, groups: int) -> tuple[Ints, Ints]:
    """Pairs (tensor, group) where a tensor is made by then and not yet read for the last time."""
    starts = np.maximum(first, 0)
    lengths = np.maximum(last - starts + 1, 0)
    tensors = np.repeat(np.arange(len(first)), lengths)
    offsets = np.arange(len(tensors)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return tensors, starts[tensors] + offsets


def _everything(problem: Problem) -> float:
    return float(problem.weights.sum() + problem.size.sum() + problem.answer.sum())
