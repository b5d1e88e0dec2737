"""Nonlinear least squares for a network or a part of one: Gauss-Newton steps, found by conjugate gradients.

All layers change at once, so that one can give up what another makes up for. A step is preconditioned by the
curvature along each layer. It is taken as far as it lowers the error on samples that it was not found from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from edgecut.ir.program import Program, static_shape
from edgecut.passes.finetune.aims import Aim, Squares
from edgecut.passes.finetune.module import Trainable, require_torch
from edgecut.passes.numerics import Array, Sample
from edgecut.passes.prune import linear
from edgecut.passes.prune.curvature import Factors, Matrix, Tensor, Weights

# Steps at most.
_STEPS = 3
# A step has to take this share of the error on held-out samples for another one to follow.
_WORTH = 0.01
# Mean squared error, relative to what is wanted, that is not worth any work.
_NOTHING = 1e-6
# Shares of a step that are tried.
_SHARES = (1.0, 0.6, 0.36, 0.2, 0.1)
# Numbers that samples which go through together may take.
_TOGETHER = 3e7


@dataclass(frozen=True)
class Pairs:
    """What goes into a part, and what should come out, [samples, ...] each."""

    given: Array
    wanted: Array


@dataclass(frozen=True)
class Batch:
    """Samples that go through together, along the first axes of the graph's own values."""

    given: dict[str, Tensor]
    wanted: Callable[[], Sequence[Tensor]]
    """The original's results; fewer than there are aims where only the first ones count."""

    def __len__(self) -> int:
        return len(next(iter(self.given.values())))


@dataclass(frozen=True)
class Effort:
    """How well each step is found."""

    gradients: int = 8
    """Conjugate gradients."""
    damping: float = 1e-3
    """Of the mean curvature: what holds weights where they are."""
    coarse: bool = False
    """Whether the curvature is found in bfloat16."""


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
    power = float(np.square(data.wanted, dtype=np.float64).mean()) + 1e-30
    solver = Solver(part, [result], [Squares(1 / power)], {source: data.given[:1]})
    if not solver.takes_batches:
        return {}
    batches, judges = (_batches(pairs, source, solver.batch) for pairs in (data, held_out))
    best = start = solver.error(solver.weights, judges)
    if start <= _NOTHING:
        return {}
    for _ in range(_STEPS):
        before, best = best, solver.move(solver.step(batches, batches, Effort()), judges, best)
        if best > (1 - _WORTH) * before:
            break
    return solver.arrays() if best < start else {}


class Solver:
    """Finds weights by which the values of a network become those that are wanted.

    Args:
        part: The network.
        results: Names of its values.
        aims: For each, how it is compared.
        sample: One input, to compare torch with ONNX Runtime on.

    Raises:
        ModelError: It has operators that cannot be differentiated.
        UsageError: torch is not installed.
    """

    def __init__(self, part: Program, results: Sequence[str], aims: Sequence[Aim], sample: Sample) -> None:
        self._torch = torch = require_torch()
        self._aims = list(aims)
        self._layers = [Matrix.of(node) for node in part.nodes if linear.is_linear(node)]
        names = [name for layer in self._layers for name in layer.names]
        observed = [n for layer in self._layers for n in (layer.made, layer.read)]
        self._module = Trainable(part, [*results, *observed])
        self._module.check(sample)
        self.takes_batches = self._module.takes_batches
        """Whether it can be used."""
        self._others = {n: t.detach() for n, t in self._module.parameters.items() if n not in names}
        self.weights: Weights = {n: self._module.parameters[n].detach().clone() for n in names}
        size = sum(int(np.prod(static_shape(v) or ())) for node in part.nodes for v in node.outputs)
        self.batch = int(np.clip(_TOGETHER / max(1, size), 1, 128))
        """Samples that should go through together."""
        self._random = torch.Generator().manual_seed(0)

    def arrays(self) -> dict[str, Array]:
        """The weights, by the names of their initializers."""
        return {name: weight.numpy() for name, weight in self.weights.items()}

    def error(self, weights: Weights, batches: Iterable[Batch]) -> float:
        """Mean loss of the samples."""
        total, count = 0.0, 0
        with self._torch.no_grad():
            for batch in batches:
                total += float(self._loss(self._results(weights, batch)[0], batch))
                count += len(batch)
        return total / count

    def move(self, step: Weights, judges: Sequence[Batch], error: float) -> float:
        """Take the share of a step that lowers the error most; none where none does.

        Args:
            step: From `step`.
            judges: Samples that it was not found from.
            error: On them, as weights are.

        Returns:
            The error after it.
        """
        start, before = error, self.weights
        for share in _SHARES:
            tried = {n: w + share * step[n] for n, w in before.items()}
            found = self.error(tried, judges)
            if found < error:
                error, self.weights = found, tried
            elif error < start:
                break
        return error

    def step(self, batches: Sequence[Batch], bending: Sequence[Batch], effort: Effort) -> Weights:
        """What brings the linearized network nearest to what is wanted, with some damping.

        Args:
            batches: Samples for the gradient.
            bending: Those for the curvature, which fewer show well enough.
            effort: How exactly.
        """
        gradient, factors = self._slopes(batches)
        scales = {n: f.scale for layer, f in zip(self._layers, factors, strict=True) for n in layer.names}
        change = {n: self._torch.zeros_like(w) for n, w in self.weights.items()}
        rest = {n: -g for n, g in gradient.items()}
        ready = self._conditioned(rest, factors)
        along, size = ready, _dot(rest, ready)
        for _ in range(effort.gradients):
            if size <= 0:
                break
            bent = self._curvature(along, bending, coarse=effort.coarse)
            bent = {n: b + effort.damping * scales[n] * along[n] for n, b in bent.items()}
            length = size / _dot(along, bent)
            change = _plus(change, length, along)
            rest = _plus(rest, -length, bent)
            ready = self._conditioned(rest, factors)
            before, size = size, _dot(rest, ready)
            along = _plus(ready, size / before, along)
        return change

    def _values(self, weights: Weights, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        self._module.parameters = {**self._others, **weights}
        return self._module.values(given)

    def _results(self, weights: Weights, batch: Batch) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """What is compared, and what layers make and read."""
        values, count = self._values(weights, batch.given), len(self._aims)
        results = [aim.found(v.float()) for aim, v in zip(self._aims, values[:count], strict=True)]
        return results, values[count:]

    def _compute(self, batch: Batch) -> Callable[[Weights], tuple[Tensor, ...]]:
        return lambda weights: tuple(self._results(weights, batch)[0])

    def _loss(self, results: Sequence[Tensor], batch: Batch) -> Tensor:
        return sum(
            aim.loss(result, aim.wanted(wanted))
            for aim, result, wanted in zip(self._aims, results, batch.wanted(), strict=False)
        )

    def _slopes(self, batches: Sequence[Batch]) -> tuple[Weights, list[Factors]]:
        """The gradient of the mean loss, and the factors of the curvature of each layer."""
        torch, count = self._torch, sum(map(len, batches))
        total = {n: torch.zeros_like(w) for n, w in self.weights.items()}
        factors = [Factors(torch) for _ in self._layers]
        for batch in batches:
            own = self._open()
            results, seen = self._results(own, batch)
            error = self._loss(results, batch) / count
            slopes = torch.autograd.grad(error, list(own.values()), retain_graph=True)
            for name, slope in zip(own, slopes, strict=True):
                total[name] += slope
            noises = [aim.noise(r.detach(), self._random) for aim, r in zip(self._aims, results, strict=True)]
            shown = torch.autograd.grad(_product(noises, results) / count**0.5, seen[::2])
            for layer, factor, read, slope in zip(self._layers, factors, seen[1::2], shown, strict=True):
                factor.add(layer, read.detach(), slope)
        for factor in factors:
            factor.finish(count)
        return total, factors

    def _open(self) -> Weights:
        return {n: w.clone().requires_grad_(True) for n, w in self.weights.items()}

    def _curvature(self, along: Weights, batches: Sequence[Batch], *, coarse: bool) -> Weights:
        """The Gauss-Newton matrix of the mean loss times a direction."""
        torch, count = self._torch, sum(map(len, batches))
        total = {n: torch.zeros_like(w) for n, w in self.weights.items()}
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=coarse):
                found, moved = torch.func.jvp(self._compute(batch), (self.weights,), (along,))
                bent = [
                    aim.bent(f.detach(), m.detach())
                    for aim, f, m in zip(self._aims, found, moved, strict=True)
                ]
                own = self._open()
                shown = _product(bent, self._results(own, batch)[0])
            slopes = torch.autograd.grad(shown, list(own.values()))
            for name, slope in zip(own, slopes, strict=True):
                total[name] += slope / count
        return total

    def _conditioned(self, weights: Weights, factors: Sequence[Factors]) -> Weights:
        found: Weights = {}
        for layer, factor in zip(self._layers, factors, strict=True):
            found |= layer.tensors(factor.divide(layer.matrix(self._torch, weights)))
        return {name: found[name] for name in weights}


def _batches(pairs: Pairs, source: str, size: int) -> list[Batch]:
    torch = require_torch()
    found = []
    for start in range(0, len(pairs.given), size):
        given, wanted = (torch.from_numpy(a[start : start + size]) for a in (pairs.given, pairs.wanted))
        found.append(Batch({source: given}, partial(list, [wanted])))
    return found


def _product(first: Sequence[Tensor], second: Sequence[Tensor]) -> Any:
    return sum((a * b).sum() for a, b in zip(first, second, strict=True))


def _dot(first: Weights, second: Weights) -> float:
    return sum(float((first[n].double() * second[n].double()).sum()) for n in first)


def _plus(first: Weights, factor: float, second: Weights) -> Weights:
    return {n: t + factor * second[n] for n, t in first.items()}
