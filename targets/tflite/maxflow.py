"""Maximum flow by Dinic's algorithm: breadth-first levels, then augmenting paths along them.

Written here because loading SciPy for it takes longer than solving it for any network there is.
"""

from __future__ import annotations

from collections import deque


class Network:
    """Nodes are numbers below ``size``; arcs have integer capacities."""

    def __init__(self, size: int) -> None:
        self.out: list[list[int]] = [[] for _ in range(size)]
        """Arcs that leave each node; arc ``a ^ 1`` is the reverse of arc ``a``."""
        self.head: list[int] = []
        self.left: list[int] = []
        """What still fits through each arc."""

    def arc(self, tail: int, head: int, capacity: int) -> None:
        """Add an arc."""
        for start, end, room in ((tail, head, capacity), (head, tail, 0)):
            self.out[start].append(len(self.head))
            self.head.append(end)
            self.left.append(room)

    def source_side(self, source: int, sink: int) -> set[int]:
        """The smallest set of nodes with the source that a minimum cut separates from the sink."""
        while True:
            level = self._levels(source)
            if level[sink] < 0:
                return {node for node, depth in enumerate(level) if depth >= 0}
            following = [0] * len(self.out)
            while self._augment(source, sink, level, following):
                pass

    def _levels(self, source: int) -> list[int]:
        """Distance of each node from the source over arcs with room; -1 where there is no way."""
        level = [-1] * len(self.out)
        level[source] = 0
        queue = deque([source])
        while queue:
            node = queue.popleft()
            for arc in self.out[node]:
                head = self.head[arc]
                if self.left[arc] and level[head] < 0:
                    level[head] = level[node] + 1
                    queue.append(head)
        return level

    def _augment(self, source: int, sink: int, level: list[int], following: list[int]) -> bool:
        """Send what fits along one path; ``following`` remembers which arcs lead nowhere."""
        path: list[int] = []
        node = source
        while node != sink:
            arcs = self.out[node]
            while following[node] < len(arcs):
                arc = arcs[following[node]]
                if self.left[arc] and level[self.head[arc]] == level[node] + 1:
                    path.append(arc)
                    node = self.head[arc]
                    break
                following[node] += 1
            else:
                if not path:
                    return False
                node = self.head[path.pop() ^ 1]
                following[node] += 1
        room = min(self.left[arc] for arc in path)
        for arc in path:
            self.left[arc] -= room
            self.left[arc ^ 1] += room
        return True
