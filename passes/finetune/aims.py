"""What a network is taught: how far its values are from the original's, and how that bends.

All are sums over samples, along the first axis. The second derivatives are those of Gauss and Newton, with
respect to the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgecut.passes.divergence import TEMPERATURE
from edgecut.passes.finetune.features import Feature
from edgecut.passes.finetune.module import require_torch
from edgecut.passes.numerics import Array

Tensor = Any


class Aim(Protocol):
    """What one value should be."""

    def found(self, tensor: Tensor) -> Tensor:
        """What is compared, of the taught network's value."""

    def wanted(self, tensor: Tensor) -> Tensor:
        """What is compared, of the original's."""

    def loss(self, found: Tensor, wanted: Tensor) -> Tensor:
        """How far they are from each other."""

    def bent(self, found: Tensor, along: Tensor) -> Tensor:
        """The second derivative of the loss, times a direction."""

    def noise(self, found: Tensor, generator: Any) -> Tensor:
        """Random numbers whose covariance is the second derivative."""


def of(softmax: Sequence[bool], answers: Sequence[Array], taught: Sequence[Feature]) -> list[Aim]:
    """Of outputs, and then of features, which count as much as one output all together.

    Args:
        softmax: Whether outputs are compared by scores of a softmax.
        answers: Some of each output, by the mean square of which its errors are weighed.
        taught: The features.
    """
    torch = require_torch()
    found: list[Aim] = [
        Divergence() if scores else Squares(1 / (float(np.square(a, dtype=np.float64).mean()) + 1e-30))
        for scores, a in zip(softmax, answers, strict=True)
    ]
    for feature in taught:
        matrix = None if feature.map is None else torch.from_numpy(feature.map)
        found.append(Squares(1 / (feature.power * len(taught)), feature.axis, matrix))
    return found


@dataclass(frozen=True)
class Squares:
    """The mean squared error of each sample."""

    weight: float
    axis: int = 0
    """Of the channels, from the end, where they are mapped."""
    map: Tensor | None = None
    """[channels of the taught network + 1, channels of the original], the last row added."""

    def found(self, tensor: Tensor) -> Tensor:
        """Mapped to the original's channels."""
        return tensor if self.map is None else tensor.movedim(self.axis, -1) @ self.map[:-1] + self.map[-1]

    def wanted(self, tensor: Tensor) -> Tensor:
        """With its channels where mapped ones have theirs."""
        return tensor if self.map is None else tensor.movedim(self.axis, -1)

    def loss(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Of all samples."""
        return (found - wanted).square().sum() * self._scale(found)

    def bent(self, found: Tensor, along: Tensor) -> Tensor:
        """In proportion to the direction."""
        return 2 * self._scale(found) * along

    def noise(self, found: Tensor, generator: Any) -> Tensor:
        """White noise."""
        torch = require_torch()
        return (2 * self._scale(found)) ** 0.5 * torch.randn(found.shape, generator=generator)

    def _scale(self, found: Tensor) -> float:
        return float(self.weight * len(found) / found.numel())


@dataclass(frozen=True)
class Divergence:
    """The Kullback-Leibler divergence of softmax over the last axis, at `TEMPERATURE`.

    Its square keeps gradients as large as without.
    """

    def found(self, tensor: Tensor) -> Tensor:
        """The scores."""
        return tensor

    def wanted(self, tensor: Tensor) -> Tensor:
        """The scores."""
        return tensor

    def loss(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Of all samples."""
        first, second = ((t / TEMPERATURE).log_softmax(-1) for t in (found, wanted))
        return TEMPERATURE**2 * (second.exp() * (second - first)).sum() / _rows(found)

    def bent(self, found: Tensor, along: Tensor) -> Tensor:
        """By the covariance of the classes: T^2 of the square and of the scores cancel out."""
        share = (found / TEMPERATURE).softmax(-1)
        return (share * along - share * (share * along).sum(-1, keepdim=True)) / _rows(found)

    def noise(self, found: Tensor, generator: Any) -> Tensor:
        """White noise weighed by the roots of the probabilities, less its mean."""
        torch = require_torch()
        share = (found / TEMPERATURE).softmax(-1)
        own = share.sqrt() * torch.randn(found.shape, generator=generator)
        return (own - share * own.sum(-1, keepdim=True)) / _rows(found) ** 0.5


def _rows(found: Tensor) -> float:
    """Rows of scores of each sample."""
    return float(found.numel() / found.shape[-1] / len(found))
