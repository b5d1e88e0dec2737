"""The order in which channels can be spared, given that the weights left make up for them.

Optimal brain surgery on whole channels: removing channels from what a layer reads costs the least squared
error that remains after its other weights are refitted, which follows from the second moments of its input
alone. Channels leave one by one, the cheapest first; a copy of another is free, but only one of the two is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir.program import Program, static_shape
from edgecut.passes.numerics import Runner, Sample
from edgecut.passes.prune.dims import ChannelGroup
from edgecut.passes.prune.importance import input_axis, reads

Floats = NDArray[np.float64]
Moments = Mapping[oir.Value, Floats]

# Pixels of one sample that are looked at.
ROWS = 512
# Inputs wider than this are judged without their correlations: the moments of 4096 channels take 128 MiB.
MAX_WIDTH = 4096
_DAMPING = 1e-4


@dataclass(frozen=True)
class Order:
    """Channels of a group in the order in which they leave, and what has been lost by then."""

    channels: tuple[int, ...]
    """Indices into the group; all but the last one."""
    loss: tuple[float, ...]
    """After each: error power over signal power at the outputs, as far as the layers that read it tell."""


def moments(program: Program, samples: Iterable[Sample]) -> dict[oir.Value, Floats]:
    """Second moments of the channels of what nodes with weights read, a constant 1 appended.

    Returns:
        Per value [channels + 1, channels + 1]; only the diagonal is filled where channels are many.
    """
    read = {n.inputs[0]: n for n in program.nodes if reads(n) and n.inputs[0] is not None}
    values = {v: n for v, n in read.items() if v is not None and static_shape(v) is not None}
    inputs = {spec.name for spec in program.inputs}
    runner = Runner(program, [v.name or "" for v in values if v.name not in inputs])
    sums: dict[oir.Value, Floats] = {}
    count = 0
    for sample in samples:
        results, count = {**sample, **runner(sample)}, count + 1
        for value, node in values.items():
            own = _moment(results[value.name or ""], 1 if node.op_type == "Conv" else -1, count)
            sums[value] = sums[value] + own if value in sums else own
    return {value: total / count for value, total in sums.items()}


def order(group: ChannelGroup, moments: Moments, sensitivity: Mapping[str, float]) -> Order | None:
    """Eliminate the channels of a group one by one; None where nothing with weights reads them.

    Args:
        group: The group.
        moments: Of the values that layers read.
        sensitivity: Of the outputs to errors of each layer, by its node's name.
    """
    readers = _readers(group, moments, sensitivity)
    if not readers:
        return None
    left = list(range(len(group.channels)))
    gone: list[int] = []
    losses: list[float] = []
    while len(left) > 1:
        costs = sum(reader.costs(left) for reader in readers)
        assert isinstance(costs, np.ndarray)
        cheapest = int(np.argmin(costs))
        losses.append((losses[-1] if losses else 0.0) + float(costs[cheapest]))
        channel = left.pop(cheapest)
        gone.append(channel)
        for reader in readers:
            reader.remove(channel)
    return Order(tuple(gone), tuple(losses))


class _Reader:
    """A layer that reads a group: its weights, and the inverse of the moments of what it reads."""

    def __init__(
        self, weight: Floats, moment: Floats, places: Sequence[Sequence[int]], importance: float
    ) -> None:
        self.places = [np.asarray(p) for p in places]
        self.single = all(len(p) == 1 for p in places)
        self.first = np.asarray([p[0] for p in places])
        signal = float(np.einsum("if,ij,jf->", weight, moment[:-1, :-1], weight))
        damping = _DAMPING * np.trace(moment) / len(moment) + 1e-12
        self.inverse = np.linalg.inv(moment + damping * np.eye(len(moment)))
        self.weight = np.concatenate([weight, np.zeros((1, weight.shape[1]))])
        self.scale = importance / max(signal, 1e-30)

    def costs(self, left: Sequence[int]) -> Floats:
        """What losing each of the channels would cost, as a share of the signal."""
        if self.single:
            at = self.first[left]
            power = np.einsum("if,if->i", self.weight[at], self.weight[at])
            return np.asarray(self.scale * power / self.inverse[at, at])
        return np.asarray([self.scale * self._cost(self.places[i]) for i in left])

    def remove(self, channel: int) -> None:
        """Take a channel out and refit the others."""
        at = self.places[channel]
        block = np.linalg.solve(self.inverse[np.ix_(at, at)], np.eye(len(at)))
        across = self.inverse[:, at] @ block
        self.weight = self.weight - across @ self.weight[at]
        self.inverse = self.inverse - across @ self.inverse[at, :]

    def _cost(self, at: NDArray[np.int64]) -> float:
        weight = self.weight[at]
        return float(np.sum(weight * np.linalg.solve(self.inverse[np.ix_(at, at)], weight)))


def _readers(group: ChannelGroup, moments: Moments, sensitivity: Mapping[str, float]) -> list[_Reader]:
    found = []
    for axis in group.axes:
        value, position = axis
        rank = len(static_shape(value) or ())
        for node, index in value.uses():
            here = 1 if node.op_type == "Conv" else rank - 1
            if index or value not in moments or not reads(node) or position != here:
                continue
            places = [dict(channel.places)[axis] for channel in group.channels]
            importance = sensitivity.get(node.name or "", 1.0)
            found.append(_Reader(_matrix(node), moments[value], places, importance))
    return found


def _matrix(node: oir.Node) -> Floats:
    """The weights as [inputs, results and taps]."""
    weight = node.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    array = np.moveaxis(np.asarray(weight.const_value.numpy(), np.float64), input_axis(node), 0)
    return array.reshape(len(array), -1)


def _moment(array: NDArray[np.generic], axis: int, seed: int) -> Floats:
    rows = np.moveaxis(np.asarray(array, np.float64), axis, -1)
    rows = rows.reshape(-1, rows.shape[-1])
    if len(rows) > ROWS:
        rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), ROWS, replace=False))]
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    if rows.shape[1] > MAX_WIDTH:
        return np.diag(np.mean(rows * rows, axis=0))
    return np.asarray(rows.T @ rows / len(rows))
