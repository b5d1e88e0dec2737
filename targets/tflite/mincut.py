"""Choosing one of two sides for every variable, with a price on disagreement: a minimum cut."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from edgecut.targets.tflite.maxflow import Network

_BOUND = 1 << 29
"""A price that no cut pays."""


class Problem:
    """Variables take side 0 or 1; a fixed side is written as the number itself."""

    def __init__(self) -> None:
        self.variables: dict[Hashable, int] = {}
        self.arcs: list[tuple[int, int, int]] = []
        self.size = 2

    def variable(self, key: Hashable) -> None:
        """Add a variable."""
        self.variables[key] = self._node()

    def differ(self, key: Hashable, others: Sequence[Hashable], price: int) -> None:
        """Charge ``price`` once per side that some of ``others`` are on and ``key`` is not.

        Keys are variables, or 0 and 1 for the sides themselves.
        """
        own = self._index(key)
        to_one, to_zero = self._node(), self._node()
        self.arcs += [(own, to_one, price), (to_zero, own, price)]
        for other in others:
            node = self._index(other)
            self.arcs += [(to_one, node, _BOUND), (node, to_zero, _BOUND)]

    def solve(self) -> dict[Hashable, int]:
        """The cheapest sides; where both cost the same, side 1."""
        network = Network(self.size)
        for tail, head, price in self.arcs:
            network.arc(tail, head, price)
        reached = network.source_side(0, 1)
        return {key: 0 if node in reached else 1 for key, node in self.variables.items()}

    def _node(self) -> int:
        self.size += 1
        return self.size - 1

    def _index(self, key: Hashable) -> int:
        return key if isinstance(key, int) else self.variables[key]
