"""Positions along the axes of all tensors, and which of them can only be removed together.

Every axis of every tensor is an array of position ids. Each operator says which positions are one and the
same channel (a convolution: its weight's rows and its output's channels; an addition: those of both sides),
and which may not be touched (the pixels of an image, the scores of the output). The rest are channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir.program import static_shape

Ids = NDArray[np.int64]
Axis = tuple[oir.Value, int]


@dataclass(frozen=True)
class Channel:
    """Positions that are removed together, per axis."""

    places: tuple[tuple[Axis, tuple[int, ...]], ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes that it has a position on."""
        return tuple(axis for axis, _ in self.places)


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that stand side by side on the same axes: the unit in which a ratio is pruned."""

    channels: tuple[Channel, ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes that shrink when channels of the group are removed."""
        return self.channels[0].axes


class Dims:
    """The positions of a graph, as a union-find over ids.

    Args:
        seen: What a first look at the same graph found.
    """

    def __init__(self, seen: Dims | None = None) -> None:
        self.seen = seen
        self.undecided = False
        """Whether something was left open that a second look can decide."""
        self._parent: list[int] = []
        self._fixed: set[int] = set()
        self._ids: dict[oir.Value, list[Ids]] = {}
        self._made: set[int] = set()

    def axes(self, value: oir.Value) -> list[Ids]:
        """Ids of the positions of each axis; none where the shape is not known."""
        if value not in self._ids:
            shape = static_shape(value)
            if shape is None and value.const_value is not None:
                shape = tuple(int(d) for d in value.const_value.shape if isinstance(d, int))
            self._ids[value] = [self._new(size) for size in shape or ()]
        return self._ids[value]

    def link(self, first: Ids, second: Ids) -> None:
        """Make positions one, pair by pair; arrays of different length cannot be followed and stay fixed."""
        if len(first) != len(second):
            self.fix(first, second)
            return
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            self._union(a, b)

    def fix(self, *arrays: Ids) -> None:
        """Say that positions must not be removed."""
        for array in arrays:
            self._fixed.update(self._root(i) for i in array.tolist())

    def make(self, array: Ids) -> None:
        """Say that positions are computed by weights, removable where nothing forbids it."""
        self._made.update(array.tolist())

    def is_fixed(self, array: Ids) -> bool:
        """Whether all of the positions are known to be fixed so far."""
        return all(self._root(i) in self._fixed for i in array.tolist())

    def groups(self) -> list[ChannelGroup]:
        """All removable channels, by the axes that they stand on, in the order of the graph."""
        wanted = {self._root(i) for i in self._made} - self._fixed
        places: dict[int, dict[Axis, list[int]]] = {}
        for value, arrays in self._ids.items():
            for axis, ids in enumerate(arrays):
                for position, i in enumerate(ids.tolist()):
                    root = self._root(i)
                    if root in wanted:
                        places.setdefault(root, {}).setdefault((value, axis), []).append(position)
        found: dict[tuple[Axis, ...], list[Channel]] = {}
        for where in places.values():
            channel = Channel(tuple((axis, tuple(positions)) for axis, positions in where.items()))
            found.setdefault(channel.axes, []).append(channel)
        return [ChannelGroup(tuple(channels)) for channels in found.values() if len(channels) > 1]

    def _new(self, size: int) -> Ids:
        start = len(self._parent)
        self._parent.extend(range(start, start + size))
        return np.arange(start, start + size)

    def _root(self, i: int) -> int:
        parent = self._parent
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    def _union(self, a: int, b: int) -> None:
        kept, gone = sorted((self._root(a), self._root(b)))
        self._parent[gone] = kept
        if gone in self._fixed:
            self._fixed.add(kept)


def fix_all(dims: Dims, values: Iterable[oir.Value | None]) -> None:
    """Fix every axis of these values."""
    for value in values:
        if value is not None:
            dims.fix(*dims.axes(value))


def link_axes(dims: Dims, first: oir.Value, second: oir.Value, axes: Sequence[int]) -> None:
    """Link the same axes of two values."""
    for axis in axes:
        dims.link(dims.axes(first)[axis], dims.axes(second)[axis])
