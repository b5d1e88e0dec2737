"""The order in which channels can be spared, given that the weights left make up for them.

Optimal brain surgery on whole channels: removing channels from what a layer reads costs the least squared
error that remains after its other weights are refitted, which follows from the second moments of its input
alone. Channels leave one by one, the cheapest first; a copy of another is free, but only one of the two is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir.program import Program, static_shape
from edgecut.passes.numerics import Runner, Sample
from edgecut.passes.prune import linear
from edgecut.passes.prune.dims import ChannelGroup
from edgecut.passes.prune.importance import input_axis, reads

Floats = NDArray[np.float64]
Moments = Mapping[oir.Node, Floats]

# Rows of results of one sample that are looked at.
ROWS = 128
# Convolutions that read more than this per result are judged tap by tap: all moments have to fit in memory.
MAX_FEATURES = 2304
# Channels more than these are judged without their correlations: the moments of 4096 take 128 MiB.
MAX_WIDTH = 4096
_DAMPING = 1e-4
# Rows per feature from which on their correlations are taken as they are.
ENOUGH = 10


@dataclass(frozen=True)
class Order:
    """Channels of a group in the order in which they leave, and what has been lost by then."""

    channels: tuple[int, ...]
    """Indices into the group; all but the last one."""
    loss: tuple[float, ...]
    """After each: error power over signal power at the outputs, as far as the layers that read it tell."""


def moments(program: Program, samples: Iterable[Sample]) -> dict[oir.Node, Floats]:
    """Second moments of what nodes with weights read for a result, a constant 1 appended.

    A convolution reads channels times taps. Where these are many, they are those of the channels alone, as if
    each tap read by itself, and where channels are many too, only the diagonal is filled.

    Returns:
        Per node [features + 1, features + 1].
    """
    nodes = [n for n in program.nodes if reads(n) and static_shape(n.outputs[0]) is not None]
    inputs = {spec.name for spec in program.inputs}
    read = dict.fromkeys(_read(n).name or "" for n in nodes)
    runner = Runner(program, [name for name in read if name not in inputs])
    sums: dict[oir.Node, Floats] = {}
    seen: dict[oir.Node, int] = {}
    count = 0
    for sample in samples:
        results, count = {**sample, **runner(sample)}, count + 1
        for node in nodes:
            rows = _rows(node, results[_read(node).name or ""], count)
            own = _moment(rows)
            sums[node] = sums[node] + own if node in sums else own
            seen[node] = seen.get(node, 0) + len(rows)
    return {node: _believable(total / count, seen[node]) for node, total in sums.items()}


def _believable(moment: Floats, rows: int) -> Floats:
    """Moments whose correlations count as much as so many rows can tell of them.

    On fewer rows than features every feature is a combination of the others, and would be spared for free;
    on unseen data it is none. Means and variances need few rows.
    """
    share = rows / (ENOUGH * len(moment))
    if share >= 1:
        return moment
    together = np.outer(moment[:, -1], moment[-1]) / moment[-1, -1]
    alone = np.diag(np.diag(moment) - np.diag(together))
    return np.asarray(share * moment + (1 - share) * (together + alone))


def power(node: oir.Node, weight: NDArray[Any], moment: Floats) -> float:
    """Mean square of a result times their number, if a node had these weights, and no bias."""
    return _power(_matrix(node, weight), moment)


def order(group: ChannelGroup, moments: Moments, sensitivity: Mapping[str, float]) -> Order | None:
    """Eliminate the channels of a group one by one; None where nothing with weights reads them.

    Args:
        group: The group.
        moments: Of what layers read.
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
        self.places = np.asarray(places)
        signal = _power(weight, moment)
        damping = _DAMPING * np.trace(moment) / len(moment) + 1e-12
        self.inverse = np.linalg.inv(moment + damping * np.eye(len(moment)))
        self.weight = np.concatenate([weight, np.zeros((1, weight.shape[1]))])
        self.scale = importance / max(signal, 1e-30)

    def costs(self, left: Sequence[int]) -> Floats:
        """What losing each of the channels would cost, as a share of the signal."""
        at = self.places[left]
        weight = self.weight[at]
        if at.shape[1] == 1:
            power = np.einsum("ijf,ijf->i", weight, weight)
            return np.asarray(self.scale * power / self.inverse[at[:, 0], at[:, 0]])
        blocks = self.inverse[at[:, :, None], at[:, None, :]]
        return np.asarray(self.scale * np.einsum("ijf,ijf->i", weight, np.linalg.solve(blocks, weight)))

    def remove(self, channel: int) -> None:
        """Take a channel out and refit the others."""
        at = self.places[channel]
        across = np.linalg.solve(self.inverse[np.ix_(at, at)], self.inverse[at, :]).T
        self.weight = self.weight - across @ self.weight[at]
        self.inverse = self.inverse - across @ self.inverse[at, :]


def _readers(group: ChannelGroup, moments: Moments, sensitivity: Mapping[str, float]) -> list[_Reader]:
    found = []
    for axis in group.axes:
        value, position = axis
        rank = len(static_shape(value) or ())
        for node, index in value.uses():
            here = 1 if node.op_type == "Conv" else rank - 1
            if index or node not in moments or position != here:
                continue
            taps = _taps(node)
            at = [[p * taps + t for p in dict(c.places)[axis] for t in range(taps)] for c in group.channels]
            importance = sensitivity.get(node.name or "", 1.0)
            found.append(_Reader(_matrix(node, _weight(node)), moments[node], at, importance))
    return found


def _read(node: oir.Node) -> oir.Value:
    value = node.inputs[0]
    assert value is not None
    return value


def _taps(node: oir.Node) -> int:
    """Features per input channel that are looked at together."""
    if node.op_type != "Conv" or not linear.is_linear(node):
        return 1
    features = linear.feature_count(node)
    return int(np.prod(linear.shape(node.inputs[1])[2:])) if features <= MAX_FEATURES else 1


def _weight(node: oir.Node) -> NDArray[Any]:
    weight = node.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    return weight.const_value.numpy()


def _matrix(node: oir.Node, weight: NDArray[Any]) -> Floats:
    """The weights as [features, results], or [channels, results and taps] where each tap reads by itself."""
    array = np.asarray(weight, np.float64)
    if _taps(node) > 1:
        return np.asarray(array.reshape(len(array), -1).T)
    array = np.moveaxis(array, input_axis(node), 0)
    return array.reshape(len(array), -1)


def _power(matrix: Floats, moment: Floats) -> float:
    return float(np.sum((moment[:-1, :-1] @ matrix) * matrix))


def _rows(node: oir.Node, array: NDArray[Any], seed: int) -> Floats:
    if _taps(node) > 1:
        return np.asarray(linear.patches(node, array, linear.choose(linear.results(node), ROWS, seed))[0])
    rows = np.moveaxis(array, 1 if node.op_type == "Conv" else -1, -1)
    rows = rows.reshape(-1, rows.shape[-1])
    return np.asarray(rows[linear.choose(len(rows), ROWS, seed)], np.float64)


def _moment(rows: Floats) -> Floats:
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    if rows.shape[1] > MAX_WIDTH:
        return np.diag(np.mean(rows * rows, axis=0))
    return np.asarray(rows.T @ rows / len(rows))
