"""What a program takes, as a function of the widths of its channel groups: operations, bytes, seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as oir

from edgecut.ir import annotations, work
from edgecut.ir.annotations import Cost, Group
from edgecut.ir.program import Program, static_shape
from edgecut.passes.prune.dims import Axis, ChannelGroup

Resource = Literal["macs", "size", "seconds"]
Term = tuple[float, tuple[Axis, ...]]


def terms(program: Program, resource: Resource) -> list[Term]:
    """The parts of what a program takes, each proportional to the sizes of some axes.

    ``seconds`` are those of the profile: the edge's, or the cloud's where the edge cannot run a group. A
    kernel's time follows its operations, another's the channels that it writes; that is coarse, so what it
    led to has to be measured.
    """
    if resource == "size":
        return list(_sizes(program))
    if resource == "macs":
        return [(float(work.macs(node)), _axes(node)) for node in program.nodes]
    return list(_seconds(program))


def seconds(program: Program) -> float:
    """Seconds of all groups by the profile; 0 without one."""
    return sum(cost for cost, _ in _seconds(program))


@dataclass
class Counter:
    """How much is left as channels leave."""

    terms: Sequence[Term]
    groups: Sequence[ChannelGroup]
    _places: list[dict[Axis, int]] = field(init=False)
    _sizes: dict[Axis, int] = field(init=False)
    _gone: dict[Axis, int] = field(init=False)
    _touched: list[list[Term]] = field(init=False)
    whole: float = field(init=False)
    """What it took before anything left."""

    def __post_init__(self) -> None:
        self._places = [{axis: len(at) for axis, at in g.channels[0].places} for g in self.groups]
        self._sizes = {axis: _size(axis) for places in self._places for axis in places}
        self._gone = dict.fromkeys(self._sizes, 0)
        self.terms = [(cost, tuple(a for a in axes if a in self._sizes)) for cost, axes in self.terms if cost]
        self._touched = [[t for t in self.terms if any(a in places for a in t[1])] for places in self._places]
        self.whole = self.total()

    def total(self) -> float:
        """What it takes now."""
        return float(sum(cost * self._share(axes, {}) for cost, axes in self.terms))

    def saved(self, group: int, count: int) -> float:
        """What removing more channels of a group would save."""
        more = {axis: count * at for axis, at in self._places[group].items()}
        parts = self._touched[group]
        return float(sum(cost * (self._share(axes, {}) - self._share(axes, more)) for cost, axes in parts))

    def remove(self, group: int, count: int) -> None:
        """Count channels of a group as gone."""
        for axis, at in self._places[group].items():
            self._gone[axis] += count * at

    def _share(self, axes: Sequence[Axis], more: dict[Axis, int]) -> float:
        left = 1.0
        for axis in axes:
            left *= max(0, self._sizes[axis] - self._gone[axis] - more.get(axis, 0)) / self._sizes[axis]
        return left


def _sizes(program: Program) -> Iterator[Term]:
    for value in program.graph.initializers.values():
        if value.const_value is not None:
            yield float(value.const_value.nbytes), _all_axes(value)


def _seconds(program: Program) -> Iterator[Term]:
    members: dict[str, list[oir.Node]] = {}
    for node in program.nodes:
        group = annotations.get(node, Group)
        members.setdefault(group.id if group else node.name or "", []).append(node)
    for nodes in members.values():
        costs = [cost for n in nodes if (cost := annotations.get(n, Cost)) is not None]
        time = sum(t.seconds for cost in costs if (t := cost.edge or cost.cloud) is not None)
        yield time, _axes(max(nodes, key=work.macs))


def _axes(node: oir.Node) -> tuple[Axis, ...]:
    """The axes whose sizes the work of a node is proportional to."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if work.macs(node) and weight is not None and weight.const_value is not None:
        return _all_axes(weight)
    return _all_axes(node.outputs[0])


def _all_axes(value: oir.Value) -> tuple[Axis, ...]:
    return tuple((value, axis) for axis in range(len(_shape(value))))


def _size(axis: Axis) -> int:
    return _shape(axis[0])[axis[1]]


def _shape(value: oir.Value) -> tuple[int, ...]:
    if value.const_value is not None:
        return tuple(np.shape(value.const_value.numpy()))
    return static_shape(value) or ()
