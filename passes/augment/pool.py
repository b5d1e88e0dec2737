"""Samples to learn from: a user's own, and others that are only like them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgecut.passes.augment.views import Array, Scale


@dataclass(frozen=True)
class Pool:
    """All of them, the own ones first."""

    inputs: Mapping[str, Array]
    """Each [samples, *shape in the graph]."""
    own: int
    """Samples that are the user's own."""
    scales: Mapping[str, Scale]
    """Of the own ones."""

    @classmethod
    def of(cls, own: Mapping[str, Array], others: Mapping[str, Array] | None) -> Pool:
        """Of inputs with the same names."""
        every = dict(own)
        if others is not None:
            every = {name: np.concatenate([array, others[name]]) for name, array in own.items()}
        scales = {name: Scale.of(array) for name, array in own.items()}
        return cls(every, len(next(iter(own.values()))), scales)

    @property
    def others(self) -> int:
        """Samples behind the own ones."""
        return len(next(iter(self.inputs.values()))) - self.own

    def drawn(self, random: np.random.Generator, count: int) -> Array:
        """Positions of so many of the others, or none where there are none."""
        return self.own + random.integers(0, self.others, count if self.others else 0)
