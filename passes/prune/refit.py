"""Refits what is left of the weights so that the pruned network computes what the original one did.

Layer by layer, from the inputs on: each weight matrix is corrected by the ridge regression of what is missing
in its results on what it now reads. No labels and no training; nothing changes where nothing is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir.program import Program
from edgecut.passes import numerics, split
from edgecut.passes.numerics import Array, Sample
from edgecut.passes.prune.rules import integer

Floats = NDArray[np.float64]
Kept = Mapping[str, Sequence[int]]

# Rows of the regression that one sample gives at most: neighbouring pixels say much the same.
ROWS = 256
# Ridges tried, relative to the mean square of the features; no correction at all is tried too.
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Layers with more inputs than this per result would need gigabytes for their normal equations.
MAX_FEATURES = 8192


def layers(before: Program, after: Program) -> list[str]:
    """Names of the nodes whose weights can make up for what was removed before them."""
    old = {n.name: n for n in before.nodes}
    changed: set[oir.Node] = set()
    found = []
    for node in after.nodes:
        same = [_shape(a) == _shape(b) for a, b in zip(node.inputs, old[node.name].inputs, strict=False)]
        if all(same) and not any(v is not None and v.producer() in changed for v in node.inputs):
            continue
        changed.add(node)
        if _is_linear(node) and _features(node) <= MAX_FEATURES:
            found.append(node.name or "")
    return found


def refit(
    before: Program,
    after: Program,
    names: Iterable[str],
    kept: Kept,
    samples: Iterable[Sample],
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Correct the weights of these nodes of the pruned program, in place.

    Args:
        before: The original.
        after: The pruned program, with the same names.
        names: Nodes, in topological order, as `layers` gives them.
        kept: Positions of the channels that are left, by name of the value that holds them.
        samples: Inputs; iterated over once per layer.
        advance: Called after each layer.
    """
    nodes = {n.name: n for n in after.nodes}
    for name in names:
        _refit_layer(before, after, nodes[name], kept, samples)
        advance()


def _refit_layer(
    before: Program, after: Program, node: oir.Node, kept: Kept, samples: Iterable[Sample]
) -> None:
    layer = _Layer.of(node)
    output = node.outputs[0].name or ""
    now = numerics.probe(after, node.inputs[0].name or "") if node.inputs[0] is not None else None
    target = numerics.probe(before, output)
    assert now is not None
    fit, test = _Normal(), _Normal()
    for index, sample in enumerate(samples):
        wanted = layer.results(target(sample))
        chosen = _choose(len(wanted), index)
        wanted = wanted[chosen][:, kept.get(output, slice(None))]
        features = layer.features(now(sample), chosen)
        missing = wanted - layer.apply(features)
        (test if split.is_held_out(index) else fit).add(features, layer.grouped(missing))
    changes = [fit.solve(ridge) for ridge in RIDGES]
    errors = [test.error(change) for change in changes]
    best = int(np.argmin(errors))
    if errors[best] < 0:
        layer.correct(changes[best])


@dataclass
class _Normal:
    """Normal equations of a regression per group, gathered sample by sample."""

    left: Floats | None = None
    """[groups, features, features]."""
    right: Floats | None = None
    """[groups, features, results]."""

    def add(self, features: Floats, wanted: Floats) -> None:
        """Count rows: [groups, rows, features] and [groups, rows, results]."""
        transposed = features.transpose(0, 2, 1)
        left, right = transposed @ features, transposed @ wanted
        self.left = left if self.left is None else self.left + left
        self.right = right if self.right is None else self.right + right

    def solve(self, ridge: float) -> Floats:
        """The weights that explain best what is wanted."""
        assert self.left is not None
        assert self.right is not None
        size = self.left.shape[1]
        scale = np.trace(self.left, axis1=1, axis2=2)[:, None, None] / size
        return np.linalg.solve(self.left + (ridge * scale + 1e-12) * np.eye(size), self.right)

    def error(self, weights: Floats) -> float:
        """Squared error with these weights less that with none."""
        assert self.left is not None
        assert self.right is not None
        return float(np.sum(weights * (self.left @ weights - 2 * self.right)))


def _choose(rows: int, seed: int) -> NDArray[np.int64]:
    if rows <= ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, ROWS, replace=False))


@dataclass
class _Layer:
    """A node as a matrix product: rows of features times a weight matrix, per group.

    Features are [groups, rows, features + 1]; the last one is the constant 1 of the bias.
    """

    node: oir.Node
    weight: Floats
    """[groups, features + 1, results per group]."""

    @classmethod
    def of(cls, node: oir.Node) -> _Layer:
        array = _numbers(node.inputs[1])
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if node.op_type == "Conv":
            groups = integer(node, "group", 1)
            matrix = array.reshape(groups, array.shape[0] // groups, -1).transpose(0, 2, 1)
        else:
            matrix = (array.T if integer(node, "transB", 0) else array)[None]
        row = np.zeros((matrix.shape[0], 1, matrix.shape[2]))
        if bias is not None:
            row[:] = np.broadcast_to(_numbers(bias), (matrix.shape[0] * matrix.shape[2],)).reshape(row.shape)
        return cls(node, np.concatenate([matrix, row], axis=1))

    def results(self, array: Array) -> Floats:
        """The node's results as [rows, channels]."""
        moved = np.moveaxis(array, 1, -1) if self.node.op_type == "Conv" else array
        return np.asarray(moved.reshape(-1, moved.shape[-1]), np.float64)

    def features(self, array: Array, rows: NDArray[np.int64]) -> Floats:
        """What the node reads for some of its results."""
        if self.node.op_type == "Conv":
            found = _patches(self.node, array, rows)
        else:
            found = array.reshape(-1, array.shape[-1])[rows][None].astype(np.float64)
        return np.concatenate([found, np.ones((*found.shape[:2], 1))], axis=2)

    def apply(self, features: Floats) -> Floats:
        """[rows, channels]."""
        product = features @ self.weight
        return np.asarray(product.transpose(1, 0, 2).reshape(features.shape[1], -1))

    def grouped(self, results: Floats) -> Floats:
        """[groups, rows, results per group]."""
        return results.reshape(len(results), len(self.weight), -1).transpose(1, 0, 2)

    def correct(self, change: Floats) -> None:
        """Add to the weights, and store them in the node."""
        matrix = self.weight + change
        kernel, bias = matrix[:, :-1], matrix[:, -1].reshape(-1)
        shape = _shape(self.node.inputs[1])
        if self.node.op_type == "Conv":
            array = kernel.transpose(0, 2, 1).reshape(shape)
        else:
            array = kernel[0].T if integer(self.node, "transB", 0) else kernel[0]
        _store(self.node, 1, array, f"{self.node.name}_weight")
        if self.node.op_type != "MatMul":
            _store(self.node, 2, bias, f"{self.node.name}_bias")


def _patches(node: oir.Node, array: Array, rows: NDArray[np.int64]) -> Floats:
    """Receptive fields as [groups, rows, channels per group * taps]."""
    shape = _shape(node.inputs[1])
    taps, rank = shape[2:], len(shape) - 2
    strides, dilations, pads = (_ints(node, k, [d] * n) for k, d, n in _WINDOW(rank))
    padded = np.pad(array, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    spans = [(t - 1) * d + 1 for t, d in zip(taps, dilations, strict=True)]
    sizes = [(n - s) // step + 1 for n, s, step in zip(padded.shape[2:], spans, strides, strict=True)]
    sample, *corner = np.unravel_index(rows, (len(array), *sizes))
    places = [
        (c * step)[:, None] + np.arange(t) * d
        for c, step, t, d in zip(corner, strides, taps, dilations, strict=True)
    ]
    grid = [
        p.reshape(len(rows), *(len(p[0]) if i == j else 1 for j in range(rank))) for i, p in enumerate(places)
    ]
    first = sample.reshape(-1, *[1] * rank)
    # [rows, taps..., channels] -> [groups, rows, channels per group * taps]
    found = np.moveaxis(padded, 1, -1)[(first, *grid)].astype(np.float64)
    found = np.moveaxis(found, -1, 1).reshape(len(rows), integer(node, "group", 1), -1)
    return np.asarray(found.transpose(1, 0, 2))


def _WINDOW(rank: int) -> Iterator[tuple[str, int, int]]:  # noqa: N802
    yield from (("strides", 1, rank), ("dilations", 1, rank), ("pads", 0, 2 * rank))


def _is_linear(node: oir.Node) -> bool:
    if node.op_type not in ("Conv", "Gemm", "MatMul") or any(v is None for v in node.inputs[:2]):
        return False
    constants = [v for v in node.inputs[1:] if v is not None]
    if any(v.const_value is None or len(v.uses()) > 1 for v in constants):
        return False
    if node.op_type == "Conv":
        return "auto_pad" not in node.attributes or node.attributes["auto_pad"].as_string() == "NOTSET"
    plain = all(k not in node.attributes or node.attributes[k].as_float() == 1 for k in ("alpha", "beta"))
    return plain and len(_shape(node.inputs[1])) == 2 and not integer(node, "transA", 0)


def _features(node: oir.Node) -> int:
    shape = _shape(node.inputs[1])
    if node.op_type == "Conv":
        return int(np.prod(shape[1:]))
    return shape[1] if integer(node, "transB", 0) else shape[0]


def _shape(value: oir.Value | None) -> tuple[int, ...]:
    if value is None or value.shape is None:
        return ()
    return tuple(d for d in value.shape if isinstance(d, int))


def _ints(node: oir.Node, name: str, default: list[int]) -> list[int]:
    return list(node.attributes[name].as_ints()) if name in node.attributes else default


def _numbers(value: oir.Value | None) -> Floats:
    assert value is not None
    assert value.const_value is not None
    return np.asarray(value.const_value.numpy(), np.float64)


def _store(node: oir.Node, index: int, array: Floats, name: str) -> None:
    tensor = oir.tensor(np.ascontiguousarray(array, np.float32), name=name)
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is not None:
        tensor.name = value.name
        value.const_value, value.shape = tensor, oir.Shape(array.shape)
        return
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    value = oir.val(name, const_value=tensor)
    assert node.graph is not None
    node.graph.register_initializer(value)
    node.replace_input_with(index, value)
