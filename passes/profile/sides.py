"""Chooses the profiler for a side: the one that can reach the target, else prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgecut.ir.annotations import Time
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program
from edgecut.passes.profile.grouping import Grouped
from edgecut.profilers import analytic, plan
from edgecut.profilers.plan import Groups
from edgecut.profilers.result import GroupTimes
from edgecut.targets.spec import Device, load_device

# The package whose version decides measured times.
RUNTIMES = {"edge": "ai-edge-litert", "cloud": "onnxruntime"}
# What is shared between fused groups on a device without figures of its own goes by this one's.
LIKE = "x86-host"


@dataclass(frozen=True)
class Options:
    """How to measure."""

    threads: int
    runs: int
    keep: bool = False
    """Leave what was sent on a remote device."""


def place(target: str | None, edge: str, cloud: str) -> tuple[str, str]:
    """Put a target that is meant for either side on the side of its kind (both, if it may stand on both).

    Returns:
        Names of the edge and the cloud target.
    """
    if target is None:
        return edge, cloud
    kind = load_device(target).kind
    return target if kind != "cloud" else edge, target if kind != "edge" else cloud


def key(device: Device, side: Literal["edge", "cloud"], options: Options) -> str:
    """Fingerprint of the conditions under which costs hold: those of another key are stale."""
    described = analytic.key(device, options.threads)
    if not device.reach:
        return described
    from importlib.metadata import version

    return hashlib.sha256(f"{described}\0{version(RUNTIMES[side])}".encode()).hexdigest()[:16]


def edge(program: Program, device: Device, groups: Sequence[Grouped], options: Options) -> GroupTimes:
    """Times on the edge of every group that it can run."""
    able = [g for g in groups if g.reason is None]
    if not device.reach:
        return analytic.predict(device, {g.id: g.work for g in able}, options.threads)
    from edgecut.profilers import litert, reach

    planned = _plan(program, device, groups)
    how = reach.Settings(options.threads, options.runs, options.keep)
    return litert.measure(program, device, planned, {g.id for g in able}, how)


def race(programs: Mapping[str, Program], device: Device, options: Options) -> dict[str, Time]:
    """Times of whole programs on an edge that can be reached, in turns."""
    from edgecut.profilers import litert, reach

    return litert.race(programs, device, reach.Settings(options.threads, options.runs, options.keep))


def cloud(program: Program, device: Device, groups: Sequence[Grouped], options: Options) -> GroupTimes:
    """Times in the cloud of every group.

    Raises:
        UsageError: The server is elsewhere.
    """
    if not device.reach:
        return analytic.predict(device, {g.id: g.work for g in groups}, options.threads)
    if not device.is_local:
        raise UsageError(
            f"a server is measured on this machine only, not at {device.reach}", where=device.name
        )
    from edgecut.profilers import onnxruntime

    return onnxruntime.measure(program, _plan(program, device, groups), options.threads, options.runs)


def _plan(program: Program, device: Device, groups: Sequence[Grouped]) -> Groups:
    figures = device if device.compute is not None else load_device(LIKE)
    members = {g.id: tuple(n.name or "" for n in g.nodes) for g in groups}
    weights = {g.id: analytic.group_seconds(figures, g.work) for g in groups}
    return plan.groups(program, members, weights)
