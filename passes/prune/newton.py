"""Nonlinear least squares for a part of a network: Gauss-Newton steps, found by conjugate gradients.

All layers of the part change at once, so that one can give up what another makes up for. A step is
preconditioned by the second moments of what each layer reads, and of how its results show in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir

from edgecut.ir.program import Program, static_shape
from edgecut.passes.finetune.module import Trainable, require_torch
from edgecut.passes.numerics import Array
from edgecut.passes.prune import linear
from edgecut.passes.prune.linear import Layer
from edgecut.passes.prune.rules import integer

Tensor = Any
Weights = dict[str, Tensor]

# Steps at most, and conjugate gradients that each is made of.
_STEPS, _GRADIENTS = 3, 8
# A step has to take this share of the error on held-out samples for another one to follow.
_WORTH = 0.01
# Relative squared error that is not worth any work.
_NOTHING = 1e-6
# Shares of a step that are tried until one lowers the error on held-out samples.
_SHARES = (1.0, 0.5, 0.25)
# Of the mean curvature: what holds weights where they are, and what makes the preconditioner tame.
_DAMPING, _TAMING = 1e-3, 1e-2
# Rows of each sample for the moments of what is read; moments of more than so many numbers are only scaled.
_ROWS, _WIDEST = 64, 2304
# Numbers that samples which go through together may take.
_TOGETHER = 3e7


def fit(part: Program, source: str, result: str, data: Pairs, held_out: Pairs) -> dict[str, Array]:
    """New weights for the layers of a part, by the names of its initializers; none where none does better.

    Args:
        part: Computes the result from the source alone, sample by sample along their first axes.
        source: Name of its input.
        result: Name of its output.
        data: To fit to.
        held_out: By whose error steps are taken or left.

    Raises:
        ModelError: It has operators that cannot be differentiated.
        UsageError: torch is not installed.
    """
    solver = _Solver(part, source, result, data)
    if not solver.takes_batches:
        return {}
    best = start = solver.error(solver.weights, held_out)
    if start <= _NOTHING * float(np.square(held_out.wanted, dtype=np.float64).sum()):
        return {}
    for _ in range(_STEPS):
        step = solver.step()
        before = best
        for share in _SHARES:
            tried = {n: w + share * step[n] for n, w in solver.weights.items()}
            error = solver.error(tried, held_out)
            if error < best:
                solver.weights, best = tried, error
                break
        if best > (1 - _WORTH) * before:
            break
    return {n: w.numpy() for n, w in solver.weights.items()} if best < start else {}


@dataclass(frozen=True)
class Pairs:
    """What goes into a part, and what should come out, [samples, ...] each."""

    given: Array
    wanted: Array


class _Solver:
    def __init__(self, part: Program, source: str, result: str, data: Pairs) -> None:
        self._torch = torch = require_torch()
        self._source, self._data = source, data
        self._layers = [_Weights.of(node) for node in part.nodes if linear.is_linear(node)]
        names = [name for layer in self._layers for name in (layer.weight, layer.bias) if name]
        observed = [n for layer in self._layers for n in (layer.made, layer.read)]
        self._module = Trainable(part, [result, *observed])
        self._module.check({source: data.given[:1]})
        self.takes_batches = self._module.takes_batches
        self._others = {n: t.detach() for n, t in self._module.parameters.items() if n not in names}
        self.weights: Weights = {n: self._module.parameters[n].detach().clone() for n in names}
        size = sum(int(np.prod(static_shape(v) or ())) for node in part.nodes for v in node.outputs)
        self._batch = int(np.clip(_TOGETHER / max(1, size), 1, 128))
        # The mean square of what should come out, so that curvatures are about one.
        self._power = float(np.square(data.wanted, dtype=np.float64).sum()) + 1e-30
        self._random = torch.Generator().manual_seed(0)

    def error(self, weights: Weights, pairs: Pairs) -> float:
        """Squared error."""
        with self._torch.no_grad():
            return sum(
                float((self._compute(weights, given) - wanted).square().sum())
                for given, wanted in self._batches(pairs)
            )

    def step(self) -> Weights:
        """What brings the linearized part nearest to what is wanted, with some damping."""
        gradient, factors = self._slopes()
        scales = {n: f.scale for layer, f in zip(self._layers, factors, strict=True) for n in layer.names}
        change = {n: self._torch.zeros_like(w) for n, w in self.weights.items()}
        rest = {n: -g for n, g in gradient.items()}
        ready = self._conditioned(rest, factors)
        along, size = ready, _dot(rest, ready)
        for _ in range(_GRADIENTS):
            if size <= 0:
                break
            bent = self._curvature(along)
            bent = {n: b + _DAMPING * scales[n] * along[n] for n, b in bent.items()}
            length = size / _dot(along, bent)
            change = _plus(change, length, along)
            rest = _plus(rest, -length, bent)
            ready = self._conditioned(rest, factors)
            before, size = size, _dot(rest, ready)
            along = _plus(ready, size / before, along)
        return change

    def _batches(self, pairs: Pairs) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(pairs.given), self._batch):
            at = slice(start, start + self._batch)
            yield self._torch.from_numpy(pairs.given[at]), self._torch.from_numpy(pairs.wanted[at])

    def _values(self, weights: Weights, given: Tensor) -> tuple[Tensor, ...]:
        self._module.parameters = {**self._others, **weights}
        return self._module.values({self._source: given})

    def _compute(self, weights: Weights, given: Tensor) -> Tensor:
        return self._values(weights, given)[0]

    def _slopes(self) -> tuple[Weights, list[_Factors]]:
        """The gradient of half the relative squared error, and the factors of the curvature of each layer."""
        torch = self._torch
        total = {n: torch.zeros_like(w) for n, w in self.weights.items()}
        factors = [_Factors(torch) for _ in self._layers]
        for given, wanted in self._batches(self._data):
            own = self._open()
            result, *seen = self._values(own, given)
            error = (result - wanted).square().sum() / (2 * self._power)
            slopes = torch.autograd.grad(error, list(own.values()), retain_graph=True)
            for name, slope in zip(own, slopes, strict=True):
                total[name] += slope
            noise = torch.randn(result.shape, generator=self._random)
            shown = torch.autograd.grad((noise * result).sum() / self._power**0.5, seen[::2])
            for layer, factor, read, slope in zip(self._layers, factors, seen[1::2], shown, strict=True):
                factor.add(layer, read.detach(), slope)
        for factor in factors:
            factor.finish(len(self._data.given))
        return total, factors

    def _open(self) -> Weights:
        return {n: w.clone().requires_grad_(True) for n, w in self.weights.items()}

    def _curvature(self, along: Weights) -> Weights:
        """The Gauss-Newton matrix times a direction."""
        torch = self._torch
        total = {n: torch.zeros_like(w) for n, w in self.weights.items()}
        for given, _ in self._batches(self._data):
            moved = torch.func.jvp(_with(self._compute, given), (self.weights,), (along,))[1].detach()
            own = self._open()
            slopes = torch.autograd.grad((self._compute(own, given) * moved).sum(), list(own.values()))
            for name, slope in zip(own, slopes, strict=True):
                total[name] += slope / self._power
        return total

    def _conditioned(self, weights: Weights, factors: Sequence[_Factors]) -> Weights:
        found: Weights = {}
        for layer, factor in zip(self._layers, factors, strict=True):
            found |= layer.tensors(factor.divide(layer.matrix(self._torch, weights)))
        return {name: found[name] for name in weights}


@dataclass(frozen=True)
class _Weights:
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
    def of(cls, node: oir.Node) -> _Weights:
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


class _Factors:
    """The curvature of a layer, about the product of two matrices per group."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._read: Tensor = 0
        self._shown: Tensor = 0
        self._count = 0
        self.scale = 1.0
        """Its mean along a weight."""

    def add(self, layer: _Weights, read: Tensor, slope: Tensor) -> None:
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


def _with(compute: Callable[[Weights, Tensor], Tensor], given: Tensor) -> Callable[[Weights], Tensor]:
    return lambda weights: compute(weights, given)


def _dot(first: Weights, second: Weights) -> float:
    return sum(float((first[n].double() * second[n].double()).sum()) for n in first)


def _plus(first: Weights, factor: float, second: Weights) -> Weights:
    return {n: t + factor * second[n] for n, t in first.items()}
