"""Chooses the profiler for a side: the one that can reach the target, else prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.profile.grouping import Grouped
from edgecut.profilers import analytic
from edgecut.profilers.result import GroupTimes
from edgecut.targets.spec import Device

# The package whose version decides measured times.
RUNTIMES = {"edge": "ai-edge-litert", "cloud": "onnxruntime"}


@dataclass(frozen=True)
class Options:
    """How to measure."""

    threads: int
    runs: int


def key(device: Device, side: Literal["edge", "cloud"], options: Options) -> str:
    """Fingerprint of the conditions under which costs hold: those of another key are stale."""
    described = analytic.key(device, options.threads)
    if not device.reach:
        return described
    from importlib.metadata import version

    return hashlib.sha256(f"{described}\0{version(RUNTIMES[side])}".encode()).hexdigest()[:16]


def edge(
    program: Program, device: Device, groups: Sequence[Grouped], options: Options, context: Context
) -> GroupTimes:
    """Times on the edge of every group that it can run."""
    able = [g for g in groups if g.reason is None]
    if not device.reach:
        return analytic.predict(device, {g.id: g.work for g in able}, options.threads)
    from edgecut.profilers import litert

    members = {g.id: tuple(n.name or "" for n in g.nodes) for g in able}
    return litert.measure(program, device, members, options.threads, options.runs, context.progress)


def cloud(
    program: Program, device: Device, groups: Sequence[Grouped], options: Options, context: Context
) -> GroupTimes:
    """Times in the cloud of every group."""
    if not device.reach:
        return analytic.predict(device, {g.id: g.work for g in groups}, options.threads)
    if not device.is_local:
        raise UsageError(
            f"a server is measured on this machine only, not at {device.reach}", where=device.name
        )
    from edgecut.profilers import onnxruntime

    members = {g.id: tuple(n.name or "" for n in g.nodes) for g in groups}
    return onnxruntime.measure(program, members, options.threads, options.runs)
