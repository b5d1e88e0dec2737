"""Choosing one of two sides for every variable, with a price on disagreement: a minimum cut."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

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
        import numpy as np
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import breadth_first_order, maximum_flow

        if not self.arcs:
            return dict.fromkeys(self.variables, 1)
        tails, heads, prices = (np.array(column) for column in zip(*self.arcs, strict=True))
        keep = tails != heads
        shape = (self.size, self.size)
        graph = csr_array((prices[keep], (tails[keep], heads[keep])), shape=shape, dtype=np.int32)
        flow = maximum_flow(graph, 0, 1).flow
        residual = csr_array(graph - flow)
        residual.data[residual.data < 0] = 0
        residual.eliminate_zeros()
        reached = set(breadth_first_order(residual, 0, return_predecessors=False).tolist())
        return {key: 0 if node in reached else 1 for key, node in self.variables.items()}

    def _node(self) -> int:
        self.size += 1
        return self.size - 1

    def _index(self, key: Hashable) -> int:
        return key if isinstance(key, int) else self.variables[key]
