"""Reads the problem off an annotated program."""

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as oir

from edgecut.ir import annotations, extract
from edgecut.ir.annotations import CloudOnly, Cost, Group, Time
from edgecut.ir.errors import ConstraintError, ModelError
from edgecut.ir.program import Program, nbytes
from edgecut.passes.partition.problem import INPUT, Floats, Ints, Problem

HINT = "run the profile pass first"

Members = dict[str, list[oir.Node]]


def read(program: Program) -> Problem:
    """The problem that a profiled program poses.

    Raises:
        ModelError: Costs or groups are missing or make no sense, or a shape is not static.
        ConstraintError: Neither side can run a group.
    """
    members = group_members(program)
    flow = _Flow(program, members)
    position = {node: i for i, node in enumerate(program.nodes)}
    order = _topological(flow, [position[nodes[-1]] for nodes in members.values()])
    rank = {group: at for at, group in enumerate(order)}
    ids = [list(members)[group] for group in order]
    costs = [_cost(members[i]) for i in ids]
    reasons = [_pinned(members[i], cost) for i, cost in zip(ids, costs, strict=True)]
    must_edge = np.array([cost.cloud is None for cost in costs], bool)
    answer, fixed_answer = flow.answers(rank)
    tensors = list(flow.readers)
    pairs = [(t, rank[g]) for t, value in enumerate(tensors) for g in flow.readers[value]]
    producers = [flow.maker(value) for value in tensors]
    return Problem(
        groups=tuple(ids),
        edge_s=_seconds(ids, (cost.edge for cost in costs)),
        cloud_s=_seconds(ids, (cost.cloud for cost in costs)),
        must_edge=must_edge,
        must_cloud=np.array([reason is not None for reason in reasons], bool) & ~must_edge,
        weights=np.array([cost.weight_bytes for cost in costs], np.int64),
        answer=answer,
        tensors=tuple(value.name or "" for value in tensors),
        size=np.array([nbytes(value) for value in tensors], np.int64),
        sealed=np.zeros(len(tensors), bool),
        producer=np.array([INPUT if p == INPUT else rank[p] for p in producers], np.int64),
        read_tensor=np.array([t for t, _ in pairs], np.int64),
        read_group=np.array([g for _, g in pairs], np.int64),
        fixed_answer=fixed_answer,
        reasons={i: reason for i, reason in zip(ids, reasons, strict=True) if reason is not None},
    )


def group_members(program: Program) -> Members:
    """Nodes of each group by its id, in topological order.

    Raises:
        ModelError: A node that is placed has no group.
    """
    free = extract.duplicable_nodes(program)
    found: Members = {}
    for node in program.nodes:
        if node not in free:
            found.setdefault(annotations.require(node, Group, HINT).id, []).append(node)
    return found


class _Flow:
    """Which group makes and which groups read each tensor; groups are numbered as they appear.

    What a group reads through free nodes counts as read from behind them.
    """

    def __init__(self, program: Program, members: Members) -> None:
        self._program = program
        self._group = {node: i for i, nodes in enumerate(members.values()) for node in nodes}
        self._behind: dict[oir.Value, tuple[oir.Value, ...]] = {}
        self.readers: dict[oir.Value, dict[int, None]] = {}
        """By tensor; a dictionary without values is an ordered set."""
        for node in program.nodes:
            self._visit(node)

    def maker(self, value: oir.Value) -> int:
        """The group that computes a tensor."""
        node = value.producer()
        return INPUT if node is None else self._group[node]

    def answers(self, rank: dict[int, int]) -> tuple[Ints, int]:
        """Bytes of graph outputs by the rank of the group that completes them, and of constant ones."""
        answer, fixed = np.zeros(len(rank), np.int64), 0
        for output in self._program.graph.outputs:
            makers = [self.maker(value) for value in self._sources([output])]
            if INPUT in makers:
                raise ModelError("is a graph output that no operator computes", where=output.name)
            if makers:
                answer[max(rank[maker] for maker in makers)] += nbytes(output)
            else:
                fixed += nbytes(output)
        return answer, fixed

    def _visit(self, node: oir.Node) -> None:
        sources = self._sources(extract.reads(node))
        group = self._group.get(node)
        if group is None:
            self._behind.update(dict.fromkeys(node.outputs, tuple(sources)))
            return
        for value in sources:
            if self.maker(value) != group:
                self.readers.setdefault(value, {})[group] = None

    def _sources(self, values: Iterable[oir.Value | None]) -> list[oir.Value]:
        varying = [v for v in values if v is not None and v.const_value is None]
        return [source for v in varying for source in self._behind.get(v, (v,))]


def _topological(flow: _Flow, last: Sequence[int]) -> list[int]:
    """Groups in the order in which the edge executes them: as early as their last nodes stand.

    Args:
        flow: Which group reads from which.
        last: Position of each group's last node.
    """
    waiting: list[set[int]] = [set() for _ in last]
    feeds: list[set[int]] = [set() for _ in last]
    for value, readers in flow.readers.items():
        maker = flow.maker(value)
        for reader in readers if maker != INPUT else ():
            waiting[reader].add(maker)
            feeds[maker].add(reader)
    ready = [(last[group], group) for group, makers in enumerate(waiting) if not makers]
    heapq.heapify(ready)
    order = []
    while ready:
        _, group = heapq.heappop(ready)
        order.append(group)
        for reader in feeds[group]:
            waiting[reader].discard(group)
            if not waiting[reader]:
                heapq.heappush(ready, (last[reader], reader))
    if len(order) < len(last):
        raise ModelError("two fusion groups depend on each other", hint=HINT)
    return order


def _cost(nodes: Sequence[oir.Node]) -> Cost:
    return annotations.require(nodes[-1], Cost, HINT)


def _pinned(nodes: Sequence[oir.Node], cost: Cost) -> str | None:
    """Why a group can run on one side only, or None."""
    found = [(node, annotations.get(node, CloudOnly)) for node in nodes]
    reasons = [f"{node.op_type} {node.name}: {record.reason}" for node, record in found if record]
    last = nodes[-1]
    if cost.edge is None and not reasons:
        reasons = [f"{last.op_type} {last.name}: the profile has no edge time for it"]
    if cost.cloud is not None:
        return reasons[0] if reasons else None
    if reasons:
        raise ConstraintError(f"neither side can run it; the edge: {reasons[0]}", where=last.name)
    return f"{last.op_type} {last.name}: the profile has no cloud time for it"


def _seconds(ids: Sequence[str], times: Iterable[Time | None]) -> Floats:
    seconds = [0.0 if time is None else time.seconds for time in times]
    for name, value in zip(ids, seconds, strict=True):
        if value < 0:
            raise ModelError(f"has a negative cost of {value:g} s", where=name, hint="profile again")
    return np.array(seconds, np.float64)
