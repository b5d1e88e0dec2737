"""Times calls, one after the other or in turns, in a way that other work on the machine disturbs little.

Runs on the device: standard library, Python 3.9.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Calls that are timed in turns change this many times.
TURNS = 10
# No call is timed fewer times than this, however little time there is.
LEAST = 5


class Run(NamedTuple):
    """One timed call."""

    seconds: float
    interrupted: bool
    """Whether the system took the processor away from it meanwhile."""


def once(call: Callable[[], object], threads: int) -> Run:
    """Time one call.

    Where another process got the processor in the middle, the time that a single thread itself ran stands for
    the time that passed. Of several threads, which wait for each other, no such time is known.
    """
    switches = _switches()
    own = time.thread_time_ns()
    start = time.perf_counter_ns()
    call()
    passed = time.perf_counter_ns() - start
    own = time.thread_time_ns() - own
    interrupted = _switches() > switches
    return Run((min(own, passed) if interrupted and threads == 1 else passed) * 1e-9, interrupted)


def repeat(call: Callable[[], object], seconds: float, threads: int = 1, runs: int = 0) -> list[Run]:
    """Time a call for this long, but a few times at least (and, unless it is 0, no more than ``runs``)."""
    return in_turns([call], [runs], seconds, threads)[0]


def in_turns(
    calls: Sequence[Callable[[], object]], runs: Sequence[int], seconds: float, threads: int = 1
) -> list[list[Run]]:
    """Time several calls so that all see the machine in the same states: a little of each, again and again.

    Args:
        calls: What to time.
        runs: How often each at most; 0: as time allows.
        seconds: How long each, but not before `LEAST` runs.
        threads: CPU threads that the calls use.

    Returns:
        The runs of each call, in order.
    """
    found: list[list[Run]] = [[] for _ in calls]
    end = time.perf_counter() + seconds * len(calls)
    while any(_wants(one, most, end) for one, most in zip(found, runs)):
        for call, one, most in zip(calls, found, runs):
            stop = time.perf_counter() + seconds / TURNS
            before = len(one)
            while _wants(one, most, end) and (len(one) == before or time.perf_counter() < stop):
                one.append(once(call, threads))
    return found


def _wants(found: Sequence[Run], most: int, end: float) -> bool:
    """Whether a call is to be timed once more."""
    if most and len(found) >= most:
        return False
    return len(found) < LEAST or time.perf_counter() < end


def _switches() -> int:
    """How often the system took the processor away from this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
