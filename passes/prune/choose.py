"""How many channels leave each group: the same share everywhere, or more where it costs less."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecut.ir import work
from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program
from edgecut.passes.prune.dims import Axis, Channel, ChannelGroup
from edgecut.passes.prune.importance import magnitudes
from edgecut.passes.prune.reconstruction import Order


def by_magnitude(group: ChannelGroup, norm: int) -> Order:
    """The order in which the channels with the smallest weights leave first."""
    scores = magnitudes(group, norm)
    at = np.argsort(scores, kind="stable")[:-1]
    return Order(tuple(at.tolist()), tuple((np.cumsum(scores[at]) / max(scores.sum(), 1e-30)).tolist()))


def by_ratio(groups: Sequence[ChannelGroup], ratio: float, multiple: int) -> list[int]:
    """Channels to remove from each group."""
    sizes = [len(group.channels) for group in groups]
    return [_spare(size, int(size * ratio), multiple) for size in sizes]


def by_macs(
    program: Program, groups: Sequence[ChannelGroup], orders: Sequence[Order], share: float, multiple: int
) -> list[int]:
    """Remove channels one step after the other where the least is lost per operation saved.

    Args:
        program: What the groups are of.
        groups: Its groups.
        orders: The order in which channels leave each.
        share: Part of the program's multiply-accumulates to save, at least.
        multiple: Widths are kept multiples of it.

    Raises:
        ConstraintError: Removing all that can be removed does not save so much.
    """
    counter = _Counter(program, groups)
    counts = [0] * len(groups)
    aim = counter.total() * (1 - share)
    while counter.total() > aim:
        steps = [_next(len(g.channels), c, multiple) for g, c in zip(groups, counts, strict=True)]
        prices = [
            _loss(orders[i], count, counts[i]) / max(counter.saved(i, count - counts[i]), 1e-9)
            if count is not None
            else np.inf
            for i, count in enumerate(steps)
        ]
        best = int(np.argmin(prices))
        count = steps[best]
        if count is None:
            most = 100 * (1 - counter.total() / counter.whole)
            what = (
                f"cannot save {100 * share:g} % of the operations; all removable channels save {most:.0f} %"
            )
            raise ConstraintError(what, where=program.graph.name)
        counter.remove(best, count - counts[best])
        counts[best] = count
    return counts


def channels(groups: Sequence[ChannelGroup], orders: Sequence[Order], counts: Sequence[int]) -> list[Channel]:
    """The channels that leave."""
    parts = zip(groups, orders, counts, strict=True)
    return [group.channels[i] for group, order, count in parts for i in order.channels[:count]]


class _Counter:
    """Multiply-accumulates as widths shrink."""

    def __init__(self, program: Program, groups: Sequence[ChannelGroup]) -> None:
        self.sizes: dict[Axis, int] = {}
        self.gone: dict[Axis, int] = {}
        self.places: list[dict[Axis, int]] = []
        for group in groups:
            own = {axis: len(at) for axis, at in group.channels[0].places if _is_weight(axis)}
            self.places.append(own)
            self.sizes.update({axis: _size(axis) for axis in own})
        self.gone = dict.fromkeys(self.sizes, 0)
        self.nodes: list[tuple[int, list[Axis]]] = []
        for node in program.nodes:
            axes = [axis for axis in self.sizes if len(node.inputs) > 1 and axis[0] is node.inputs[1]]
            self.nodes.append((work.macs(node), axes))
        self.whole = self.total()

    def total(self) -> float:
        return sum(macs * self._share(axes, {}) for macs, axes in self.nodes)

    def saved(self, group: int, count: int) -> float:
        """What removing more channels of a group would save."""
        more = {axis: count * at for axis, at in self.places[group].items()}
        touched = [(macs, axes) for macs, axes in self.nodes if any(a in more for a in axes)]
        return sum(macs * (self._share(axes, {}) - self._share(axes, more)) for macs, axes in touched)

    def remove(self, group: int, count: int) -> None:
        for axis, at in self.places[group].items():
            self.gone[axis] += count * at

    def _share(self, axes: Sequence[Axis], more: dict[Axis, int]) -> float:
        left = 1.0
        for axis in axes:
            left *= max(0, self.sizes[axis] - self.gone[axis] - more.get(axis, 0)) / self.sizes[axis]
        return left


def _loss(order: Order, count: int, before: int) -> float:
    return order.loss[count - 1] - (order.loss[before - 1] if before else 0.0)


def _next(size: int, count: int, multiple: int) -> int | None:
    """The next larger number of channels to remove, or None where no more can go."""
    for wanted in range(count + 1, size):
        found = _spare(size, wanted, multiple)
        if found > count:
            return found
    return None


def _spare(size: int, wanted: int, multiple: int) -> int:
    """How many of the wanted channels can go, so that a multiple, and at least one, is left."""
    left = max(1, size - wanted)
    return size - min(size, -(-left // multiple) * multiple)


def _is_weight(axis: Axis) -> bool:
    return axis[0].const_value is not None


def _size(axis: Axis) -> int:
    tensor = axis[0].const_value
    assert tensor is not None
    return int(tensor.numpy().shape[axis[1]])
