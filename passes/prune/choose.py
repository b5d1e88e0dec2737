"""How many channels leave each group: the same share everywhere, or more where it costs less."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program
from edgecut.passes.prune.dims import Channel, ChannelGroup
from edgecut.passes.prune.importance import magnitudes
from edgecut.passes.prune.reconstruction import Order
from edgecut.passes.prune.resources import Counter, Resource, terms

_NAMES: dict[Resource, str] = {"macs": "operations", "size": "size", "seconds": "time"}


def by_magnitude(group: ChannelGroup, norm: int) -> Order:
    """The order in which the channels with the smallest weights leave first."""
    scores = magnitudes(group, norm)
    at = np.argsort(scores, kind="stable")[:-1]
    return Order(tuple(at.tolist()), tuple((np.cumsum(scores[at]) / max(scores.sum(), 1e-30)).tolist()))


def by_ratio(groups: Sequence[ChannelGroup], ratio: float, multiple: int) -> list[int]:
    """Channels to remove from each group."""
    sizes = [len(group.channels) for group in groups]
    return [_spare(size, int(size * ratio), multiple) for size in sizes]


def by_cost(
    program: Program,
    groups: Sequence[ChannelGroup],
    orders: Sequence[Order],
    resource: Resource,
    share: float,
    multiple: int,
) -> list[int]:
    """Remove channels one step after the other where the least is lost per resource saved.

    Args:
        program: What the groups are of.
        groups: Its groups.
        orders: The order in which channels leave each.
        resource: What is to be saved.
        share: Part of it to save, at least.
        multiple: Widths are kept multiples of it.

    Raises:
        ConstraintError: Removing all that can be removed does not save so much.
    """
    counter = Counter(terms(program, resource), groups)
    counts = [0] * len(groups)
    aim = counter.whole * (1 - share)
    while counter.total() > aim:
        steps = [_next(len(g.channels), c, multiple) for g, c in zip(groups, counts, strict=True)]
        prices = [
            _loss(orders[i], count, counts[i]) / max(counter.saved(i, count - counts[i]), 1e-30)
            if count is not None
            else np.inf
            for i, count in enumerate(steps)
        ]
        best = int(np.argmin(prices)) if prices else -1
        count = steps[best] if steps else None
        if count is None:
            most = 100 * (1 - counter.total() / counter.whole)
            what = f"cannot save {100 * share:.3g} % of the {_NAMES[resource]}"
            what = f"{what}; all removable channels save {most:.0f} %"
            raise ConstraintError(what, where=program.graph.name)
        counter.remove(best, count - counts[best])
        counts[best] = count
    _give_back(counter, groups, counts, orders, aim, multiple)
    return counts


def _give_back(
    counter: Counter,
    groups: Sequence[ChannelGroup],
    counts: list[int],
    orders: Sequence[Order],
    aim: float,
    multiple: int,
) -> None:
    """Take channels back, the dearest first, for as long as enough is saved without them.

    The last step went beyond the aim, some of the earlier ones are then not needed.
    """
    while True:
        dearest, most = -1, 0.0
        for i, group in enumerate(groups):
            fewer = _previous(len(group.channels), counts[i], multiple)
            loss = 0.0 if fewer is None else _loss(orders[i], counts[i], fewer)
            if (
                fewer is not None
                and loss > most
                and counter.total() - counter.saved(i, fewer - counts[i]) <= aim
            ):
                dearest, most = i, loss
        if dearest < 0:
            return
        fewer = _previous(len(groups[dearest].channels), counts[dearest], multiple)
        assert fewer is not None
        counter.remove(dearest, fewer - counts[dearest])
        counts[dearest] = fewer


def channels(groups: Sequence[ChannelGroup], orders: Sequence[Order], counts: Sequence[int]) -> list[Channel]:
    """The channels that leave."""
    parts = zip(groups, orders, counts, strict=True)
    return [group.channels[i] for group, order, count in parts for i in order.channels[:count]]


def _loss(order: Order, count: int, before: int) -> float:
    return order.loss[count - 1] - (order.loss[before - 1] if before else 0.0)


def _next(size: int, count: int, multiple: int) -> int | None:
    """The next larger number of channels to remove, or None where no more can go."""
    for wanted in range(count + 1, size):
        found = _spare(size, wanted, multiple)
        if found > count:
            return found
    return None


def _previous(size: int, count: int, multiple: int) -> int | None:
    """The next smaller number of channels to remove, or None where none is removed."""
    return next((n for n in range(count - 1, -1, -1) if _spare(size, n, multiple) == n), None)


def _spare(size: int, wanted: int, multiple: int) -> int:
    """How many of the wanted channels can go, so that a multiple, and at least one, is left."""
    left = max(1, size - wanted)
    return size - min(size, -(-left // multiple) * multiple)
