"""Refits what is left of the weights so that the pruned network computes what the original one did.

Layer by layer, from the inputs on: each weight matrix is corrected by the ridge regression of what is missing
in its results on what it now reads. The last layer before a residual addition makes up for what is missing in
the sum, whichever branch lost it. No labels and no training; nothing changes where nothing is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.frontends.data import Dataset
from edgecut.ir.program import Program
from edgecut.passes import numerics, split
from edgecut.passes.augment import Kind, mirrored
from edgecut.passes.numerics import Sample
from edgecut.passes.prune import linear
from edgecut.passes.prune.linear import Layer

Floats = NDArray[np.float64]
Single = NDArray[np.float32]
Kept = Mapping[str, Sequence[int]]

# Rows of the regression that one sample gives at most: neighbouring pixels say much the same.
ROWS = 256
# Rows that are enough altogether, where there are many samples.
ALL_ROWS = 65536
# Ridges tried, relative to the mean square of the features; no correction at all is tried too.
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Layers with more inputs than this per result would need gigabytes for their normal equations.
MAX_FEATURES = 8192
# Rows that are multiplied together.
_TOGETHER = 2048


def layers(before: Program, after: Program, *, nearest: bool = False) -> list[str]:
    """Names of the nodes whose weights can make up for what was removed before them.

    Args:
        before: The original.
        after: The pruned program.
        nearest: Only those that read less than the original does.
    """
    old = {n.name: n for n in before.nodes}
    changed: set[oir.Node] = set()
    found = []
    for node in after.nodes:
        pairs = zip(node.inputs, old[node.name].inputs, strict=False)
        same = [linear.shape(a) == linear.shape(b) for a, b in pairs]
        if all(same) and not any(v is not None and v.producer() in changed for v in node.inputs):
            continue
        changed.add(node)
        if nearest and all(same[:1]):
            continue
        if linear.is_linear(node) and linear.feature_count(node) <= MAX_FEATURES:
            found.append(node.name or "")
    return found


def refit(
    before: Program,
    after: Program,
    names: Sequence[str],
    kept: Kept,
    dataset: Dataset,
    kind: Kind = "none",
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Correct the weights of these nodes of the pruned program, in place.

    Args:
        before: The original.
        after: The pruned program, with the same names.
        names: Nodes, in topological order, as `layers` gives them.
        kept: Positions of the channels that are left, by name of the value that holds them.
        dataset: Inputs; some are held out, to choose the ridge by. Gone through twice per layer.
        kind: How more inputs are made out of them.
        advance: Called after each layer.
    """
    fit, test = mirrored.apply(split.fit(dataset), kind), split.test(dataset)
    rows = min(ROWS, max(1, ALL_ROWS // len(fit)))
    nodes = {n.name: n for n in after.nodes}
    for i, name in enumerate(names):
        layer = Layer.of(nodes[name])
        aim = Aim.of(layer, frozenset(names[i:]))
        measure = Measure(before, after, layer, aim, kept)
        measure.correct(measure.equations(fit, rows), measure.equations(test, rows))
        advance()


@dataclass(frozen=True)
class Aim:
    """What a layer's results, plus what is added to them, should be."""

    target: str
    """A value of the original."""
    other: str | None
    """The other operand of the addition, in the pruned program."""

    @classmethod
    def of(cls, layer: Layer, open_: Collection[str]) -> Aim:
        """The sum, where the other operand does not change any more; else the layer's own results.

        Args:
            layer: The layer.
            open_: Names of the nodes that are yet to be corrected, itself among them.
        """
        alone = cls(layer.result.name or "", None)
        users = [user for user, _ in layer.result.uses()]
        if len(users) != 1 or users[0].op_type != "Add" or layer.result.is_graph_output():
            return alone
        other = next((v for v in users[0].inputs if v is not layer.result), None)
        if (
            other is None
            or linear.shape(other) != linear.shape(layer.result)
            or not _is_settled(other, open_)
        ):
            return alone
        return cls(users[0].outputs[0].name or "", other.name)


class Measure:
    """Gathers the normal equations of one layer's correction."""

    def __init__(self, before: Program, after: Program, layer: Layer, aim: Aim, kept: Kept) -> None:
        data = layer.node.inputs[0]
        assert data is not None
        self._layer = layer
        self._kept = kept.get(aim.target, slice(None))
        self._target = numerics.probe(before, aim.target)
        self._read = numerics.probe(after, data.name or "")
        self._other = None if aim.other is None else numerics.probe(after, aim.other)

    def equations(self, samples: Iterable[Sample], rows: int) -> Normal:
        """Gather at most so many rows from each sample."""
        layer, found = self._layer, Normal()
        weight = layer.weight.astype(np.float32)
        for index, sample in enumerate(samples):
            wanted = layer.results(self._target(sample))
            chosen = linear.choose(len(wanted), rows, index)
            wanted = wanted[chosen][:, self._kept]
            if self._other is not None:
                wanted = wanted - layer.results(self._other(sample))[chosen]
            features = layer.features(self._read(sample), chosen)
            found.add(features, layer.grouped(wanted) - features @ weight)
        found.finish()
        return found

    def correct(self, fit: Normal, test: Normal) -> None:
        """Solve with each ridge, and keep what does best on held-out samples."""
        changes = [fit.solve(ridge) for ridge in RIDGES]
        errors = [test.error(change) for change in changes]
        best = int(np.argmin(errors))
        if errors[best] < 0:
            self._layer.correct(changes[best])


@dataclass
class Normal:
    """Normal equations of a regression per group, gathered sample by sample.

    Products are those of float32 over some thousand rows, their sums are of float64.
    """

    left: Floats | None = None
    """[groups, features, features]."""
    right: Floats | None = None
    """[groups, features, results]."""
    _waiting: list[tuple[Single, Single]] = field(default_factory=list)

    def add(self, features: Single, wanted: Single) -> None:
        """Count rows: [groups, rows, features] and [groups, rows, results]."""
        self._waiting.append((features, wanted))
        if sum(rows.shape[1] for rows, _ in self._waiting) >= _TOGETHER:
            self.finish()

    def finish(self) -> None:
        """Count the rows that wait for others: many at once are multiplied faster."""
        if not self._waiting:
            return
        features, wanted = (np.concatenate(parts, axis=1) for parts in zip(*self._waiting, strict=True))
        self._waiting.clear()
        # One group at a time: the product of a matrix and itself takes half the time.
        left = np.stack([rows.T @ rows for rows in features]).astype(np.float64)
        right = (features.transpose(0, 2, 1) @ wanted).astype(np.float64)
        self.left = left if self.left is None else self.left + left
        self.right = right if self.right is None else self.right + right

    def moments(self, ridge: float) -> Floats:
        """The left side with a ridge, relative to the mean square of the features."""
        assert self.left is not None
        size = self.left.shape[1]
        scale = np.trace(self.left, axis1=1, axis2=2)[:, None, None] / size
        return np.asarray(self.left + (ridge * scale + 1e-12) * np.eye(size))

    def solve(self, ridge: float) -> Floats:
        """The weights that explain best what is wanted."""
        assert self.right is not None
        return np.asarray(np.linalg.solve(self.moments(ridge), self.right))

    def error(self, weights: Floats) -> float:
        """Squared error with these weights less that with none."""
        assert self.left is not None
        assert self.right is not None
        return float(np.sum(weights * (self.left @ weights - 2 * self.right)))


def _is_settled(value: oir.Value, open_: Collection[str]) -> bool:
    """Whether no node that is yet to be corrected takes part in computing a value."""
    seen: set[oir.Node] = set()
    stack = [value.producer()]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        if node.name in open_:
            return False
        seen.add(node)
        stack.extend(v.producer() for v in node.inputs if v is not None)
    return True
