"""The fusion groups of a program as profilers need them: who reads from whom, and what sharing goes by."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecut.ir.annotations import Cut
from edgecut.ir.extract import crossing, duplicable_nodes
from edgecut.ir.program import Program


@dataclass(frozen=True)
class Groups:
    """Groups of a program in topological order."""

    members: dict[str, tuple[str, ...]]
    """Names of the nodes of each group, by its id."""
    of: dict[str, str]
    """The group of each node."""
    before: dict[str, tuple[str, ...]]
    """The groups that each group reads from, through duplicable nodes."""
    weights: dict[str, float]
    """Predicted seconds of each group."""

    @property
    def order(self) -> list[str]:
        """Ids in topological order."""
        return list(self.members)

    def prefix(self, program: Program, count: int) -> Cut:
        """The cut after the first groups."""
        names = {n for g in self.order[:count] for n in self.members[g]}
        inside = {n for n in program.nodes if n.name in names}
        free = duplicable_nodes(program)
        makers = (v.producer() for n in inside for v in n.inputs if v is not None)
        return crossing(program, inside | {n for n in makers if n is not None and n in free})

    def only(self, ids: Sequence[str]) -> Groups:
        """The same for some of the groups."""
        kept = set(ids)
        members = {i: m for i, m in self.members.items() if i in kept}
        of = {n: g for n, g in self.of.items() if g in kept}
        before = {g: tuple(b for b in found if b in kept) for g, found in self.before.items() if g in kept}
        return Groups(members, of, before, {g: w for g, w in self.weights.items() if g in kept})


def groups(program: Program, members: Mapping[str, tuple[str, ...]], weights: Mapping[str, float]) -> Groups:
    """Describe the groups of a program.

    Args:
        program: The program.
        members: Names of the nodes of each group by its id.
        weights: Predicted seconds of each group.
    """
    of = {name: group for group, names in members.items() for name in names}
    free = duplicable_nodes(program)
    seen: dict[str, set[str]] = {}
    sources: dict[str, set[str]] = {}
    for node in program.nodes:
        name = node.name or ""
        producers = [p for v in node.inputs if v is not None and (p := v.producer()) is not None]
        reads = {s for p in producers for s in sources.get(p.name or "", ())}
        sources[name] = reads if node in free else {of[name]} if name in of else reads
        if name in of:
            seen.setdefault(of[name], set()).update(reads)
    rank = {g: i for i, g in enumerate(members)}
    before = {g: tuple(sorted(seen.get(g, set()) - {g}, key=rank.__getitem__)) for g in members}
    return Groups({g: members[g] for g in _ordered(before, rank)}, of, before, dict(weights))


def _ordered(before: Mapping[str, Sequence[str]], rank: Mapping[str, int]) -> list[str]:
    """Groups so that each comes after those it reads from, and otherwise as they came.

    The order of their last nodes is not enough: another group may read from a node in the middle of one.
    """
    waiting = {g: len(found) for g, found in before.items()}
    readers: dict[str, list[str]] = {}
    for group, found in before.items():
        for source in found:
            readers.setdefault(source, []).append(group)
    ready = [(rank[g], g) for g, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    ordered = []
    while ready:
        _, group = heapq.heappop(ready)
        ordered.append(group)
        for reader in readers.get(group, ()):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, (rank[reader], reader))
    return ordered
