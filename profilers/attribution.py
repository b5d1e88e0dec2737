"""Hands the times of kernels to the fusion groups of the program.

A runtime fuses and inserts as it likes, so a kernel may stand for several groups, and a group may have no
kernel of its own. What a runtime added (a layout change, say) counts towards the group that came just before
it; a group that vanished into another shares that one's time, in proportion to their predicted times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    """One timed kernel, in order of execution."""

    groups: tuple[str, ...]
    """The groups it came from; empty where the runtime added it."""
    seconds: float


def attribute(
    kernels: Sequence[Kernel],
    order: Sequence[str],
    before: Mapping[str, Sequence[str]],
    weights: Mapping[str, float],
) -> dict[str, float]:
    """Seconds of every group; they add up to those of the kernels.

    Args:
        kernels: All kernels, in order of execution.
        order: All groups, in topological order.
        before: The groups that each group reads from.
        weights: Predicted seconds of each group: how what has to be shared is shared.
    """
    named = _named(kernels, order)
    hosts = _hosts(order, before, {g for k in named for g in k.groups})
    shares: dict[str, list[str]] = {}
    for group in order:
        shares.setdefault(hosts[group], []).append(group)
    found = dict.fromkeys(order, 0.0)
    for kernel in named:
        members = [m for g in kernel.groups for m in shares[g]]
        total = sum(weights[m] for m in members)
        for member in members:
            found[member] += kernel.seconds * (weights[member] / total if total else 1 / len(members))
    return found


def scale(times: Mapping[str, float], whole: float) -> dict[str, float]:
    """The same proportions, adding up to ``whole``."""
    total = sum(times.values())
    factor = whole / total if total else 0.0
    return {name: seconds * factor for name, seconds in times.items()}


def _named(kernels: Sequence[Kernel], order: Sequence[str]) -> list[Kernel]:
    """Kernels that all have groups: those without take the one before, at the start the next one."""
    first = next((k.groups for k in kernels if k.groups), tuple(order))
    found, last = [], first
    for kernel in kernels:
        last = kernel.groups or last
        found.append(Kernel(last, kernel.seconds))
    return found


def _hosts(order: Sequence[str], before: Mapping[str, Sequence[str]], timed: set[str]) -> dict[str, str]:
    """The group whose kernel ran each group: itself, or the latest it reads from, or the first there is."""
    position = {group: i for i, group in enumerate(order)}
    first = next((group for group in order if group in timed), None)
    found: dict[str, str] = {}
    for group in order:
        earlier = [found[b] for b in before.get(group, ()) if b in found]
        latest = max(earlier, key=position.__getitem__, default=first or group)
        found[group] = group if group in timed else latest
    return found
