"""The weights of a layer as one matrix, and how a loss bends along it.

The curvature is taken as the product of the second moments of what the layer reads, and of how its results
show in the end: J. Martens and R. Grosse, "Optimizing neural networks with Kronecker-factored approximate
curvature", ICML 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir

from edgecut.passes.prune import linear
from edgecut.passes.prune.linear import Layer
from edgecut.passes.prune.rules import integer

Tensor = Any
Weights = dict[str, Tensor]

# Of the mean curvature: what makes the preconditioner tame.
_TAMING = 1e-2
# Rows of each sample for the moments of what is read; moments of more than so many numbers are only scaled.
_ROWS, _WIDEST = 64, 2304


@dataclass(frozen=True)
class Matrix:
    """Where the weights of a layer are, and how they are a matrix."""

    layer: Layer
    weight: str
    bias: str | None
    made: str
    read: str
    shape: tuple[int, ...]
    groups: int
    turned: bool
    """Whether the weight is stored as [results, features]."""

    @classmethod
    def of(cls, node: oir.Node) -> Matrix:
        """Of a node whose results are linear in its weights."""
        layer = Layer.of(node)
        weight, read = node.inputs[1], node.inputs[0]
        assert weight is not None
        assert read is not None
        bias = layer.bias
        turned = node.op_type == "Conv" or bool(integer(node, "transB", 0))
        return cls(
            layer, weight.name or "", bias.name if bias is not None else None, node.outputs[0].name or "",
            read.name or "", linear.shape(weight), len(layer.weight), turned,
        )  # fmt: skip

    @property
    def names(self) -> list[str]:
        """Of its initializers."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def matrix(self, torch: Any, tensors: Weights) -> Tensor:
        """[groups, features (and 1 for the bias), results per group]."""
        weight = tensors[self.weight]
        if self.turned:
            found = weight.reshape(self.groups, self.shape[0] // self.groups, -1).mT
        else:
            found = weight[None]
        if self.bias is None:
            return found
        return torch.cat([found, tensors[self.bias].reshape(self.groups, 1, -1)], dim=1)

    def tensors(self, matrix: Tensor) -> Weights:
        """The inverse of `matrix`."""
        found = {}
        if self.bias is not None:
            found[self.bias] = matrix[:, -1].reshape(-1)
            matrix = matrix[:, :-1]
        found[self.weight] = (matrix.mT if self.turned else matrix).reshape(self.shape)
        return found


class Factors:
    """The curvature of a layer, about the product of two matrices per group."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._read: Tensor = 0
        self._shown: Tensor = 0
        self._count = 0
        self.scale = 1.0
        """Its mean along a weight."""

    def add(self, layer: Matrix, read: Tensor, slope: Tensor) -> None:
        """Count a batch: what the layer reads, and gradients of its results."""
        torch = self._torch
        results = layer.layer.results(slope.numpy())
        at = linear.choose(len(results), _ROWS * len(read), self._count)
        features = torch.from_numpy(layer.layer.features(read.numpy(), at))
        features = features if layer.bias is not None else features[:, :, :-1]
        grouped = torch.from_numpy(np.ascontiguousarray(layer.layer.grouped(results)))
        self._read = self._read + _moment(features) / len(at) * len(read)
        self._shown = self._shown + _moment(grouped)
        self._count += len(read)

    def finish(self, samples: int) -> None:
        """Invert."""
        self._read, read = self._inverse(self._read / samples)
        self._shown, shown = self._inverse(self._shown)
        self.scale = read * shown

    def _inverse(self, moment: Tensor) -> tuple[Tensor, float]:
        """Of a moment, tamed, or of the mean of its diagonal where that is all there is; and that mean."""
        diagonal = moment if moment.ndim == 2 else moment.diagonal(dim1=1, dim2=2)
        mean = diagonal.mean(dim=1, keepdim=True) + 1e-20
        if moment.ndim == 2:
            return 1 / mean.expand_as(moment), float(mean.mean())
        eye = self._torch.eye(moment.shape[1])
        return self._torch.linalg.inv(moment + _TAMING * mean[:, :, None] * eye), float(mean.mean())

    def divide(self, matrix: Tensor) -> Tensor:
        """[groups, features, results], times the inverse."""
        first = self._read @ matrix if self._read.ndim == 3 else self._read[:, :, None] * matrix
        return first @ self._shown if self._shown.ndim == 3 else first * self._shown[:, None]


def _moment(rows: Tensor) -> Tensor:
    """[groups, size, size] of [groups, rows, size], or its diagonal where that is large."""
    return rows.mT @ rows if rows.shape[2] <= _WIDEST else rows.square().sum(dim=1)
