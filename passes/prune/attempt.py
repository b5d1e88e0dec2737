"""One pruned copy of a program: channels out, weights refitted, and how well it then does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgecut.frontends.data import Dataset
from edgecut.ir.program import Program, static_shape
from edgecut.passes import stale
from edgecut.passes.augment import Kind
from edgecut.passes.base import Context
from edgecut.passes.budget import Judge, Quality
from edgecut.passes.prune import blocks, choose, refit, rules, shrink, together
from edgecut.passes.prune.dims import Axis, Channel, ChannelGroup
from edgecut.passes.prune.reconstruction import Order
from edgecut.passes.prune.refit import Kept


@dataclass(frozen=True)
class Attempt:
    """A pruned program."""

    program: Program
    removed: int
    """Channels."""
    quality: Quality | None
    """On samples held out; None without data."""


@dataclass(frozen=True)
class Workshop:
    """What it takes to prune a program, as often as one likes; the program itself is left alone."""

    program: Program
    groups: Sequence[ChannelGroup]
    orders: Sequence[Order]
    dataset: Dataset | None
    judge: Judge | None
    augment: Kind
    context: Context
    blocks: bool = False
    """Whether layers are refitted together too, block by block."""
    nearest: bool = False
    """Whether only those layers are refitted that read what is gone."""

    def bare(self, counts: Sequence[int]) -> Program:
        """A copy without so many channels of each group, not refitted."""
        return self._without(counts)[0]

    def attempt(self, counts: Sequence[int]) -> Attempt:
        """Remove so many channels from each group, and refit."""
        copy, kept = self._without(counts)
        removed = sum(counts)
        if self.dataset is None:
            return Attempt(copy, removed, None)
        names = refit.layers(self.program, copy, nearest=self.nearest)
        with self.context.progress.task("refitting", len(names)) as advance:
            refit.refit(self.program, copy, names, kept, self.dataset, self.augment, advance)
        if self.blocks:
            blocks.refit(self.program, copy, kept, self.dataset, self.augment, self.context.progress)
        return Attempt(copy, removed, None if self.judge is None else self.judge.quality(copy))

    def finished(self, found: Attempt, unlabelled: Dataset | None) -> Attempt:
        """With all layers refitted together."""
        assert self.dataset is not None
        copy, progress = found.program.copy(), self.context.progress
        together.refit(self.program, copy, self.dataset, self.augment, unlabelled, progress)
        return Attempt(copy, found.removed, None if self.judge is None else self.judge.quality(copy))

    def _without(self, counts: Sequence[int]) -> tuple[Program, Kept]:
        copy = self.program.copy()
        removed = choose.channels(rules.groups(copy), self.orders, counts)
        kept = _kept(removed)
        shrink.remove(copy, removed)
        stale.drop(copy)
        return copy, kept


def _kept(removed: Sequence[Channel]) -> dict[str, list[int]]:
    """Positions that are left on the channel axes of values, by name of the value."""
    gone: dict[str, set[int]] = {}
    sizes: dict[str, int] = {}
    for (value, axis), positions in _dynamic(removed):
        name = value.name or ""
        gone.setdefault(name, set()).update(positions)
        sizes[name] = (static_shape(value) or ())[axis]
    return {name: [i for i in range(sizes[name]) if i not in positions] for name, positions in gone.items()}


def _dynamic(removed: Sequence[Channel]) -> Iterator[tuple[Axis, tuple[int, ...]]]:
    for channel in removed:
        for (value, axis), positions in channel.places:
            if value.const_value is None:
                yield (value, axis), positions
