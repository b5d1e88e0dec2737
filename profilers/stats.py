"""Robust figures of repeated timings. Runs on the device: standard library, Python 3.9."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from edgecut.profilers.record import Stats

# A run is far off when it is this many median absolute deviations above the median (a scheduler's
# pause, say), and at least this part of the median above it (quiet machines have tiny deviations).
FAR_DEVIATIONS = 6.0
FAR_PART = 0.10
# A spread above this means that the machine was not quiet: measured again, this many times in all.
QUIET = 0.05
ROUNDS = 3


def describe(samples: Sequence[float]) -> Stats:
    """Describe at least one timing."""
    kept = without_outliers(samples)
    ordered = sorted(kept)
    middle = statistics.median(ordered)
    quartiles = (_rank(ordered, 0.25), _rank(ordered, 0.75))
    spread = (quartiles[1] - quartiles[0]) / 2 / middle if middle else 0.0
    return Stats(middle, ordered[0], _rank(ordered, 0.9), spread, len(kept), len(samples) - len(kept))


def without_outliers(samples: Sequence[float]) -> list[float]:
    """The samples that are not far above the others."""
    middle = statistics.median(samples)
    deviation = statistics.median(abs(s - middle) for s in samples)
    limit = middle + max(FAR_DEVIATIONS * deviation, FAR_PART * middle)
    return [s for s in samples if s <= limit]


def midmean(samples: Sequence[float]) -> float:
    """Mean of the middle half: finer than the ticks of a clock, and deaf to the pauses of a scheduler."""
    ordered = sorted(samples)
    cut = len(ordered) // 4
    return statistics.fmean(ordered[cut : len(ordered) - cut])


def quiet(call: Callable[[], object], runs: int, budget_s: float) -> Stats:
    """Time a call, and again where other work on the machine disturbed it; the quickest of the rounds counts.

    Args:
        call: What to time.
        runs: How often at most, in a round.
        budget_s: Stop a round after this many seconds.
    """
    best = describe(repeat(call, runs, budget_s))
    for _ in range(ROUNDS - 1):
        if best.spread <= QUIET and best.outliers <= best.runs // 10:
            break
        best = min(best, describe(repeat(call, runs, budget_s)), key=lambda s: s.median_s)
    return best


def repeat(call: Callable[[], object], runs: int, budget_s: float, least: int = 5) -> list[float]:
    """Time a call again and again.

    Args:
        call: What to time.
        runs: How often at most.
        budget_s: Stop after this many seconds, ...
        least: ... but not before this many runs.

    Returns:
        Seconds of each run.
    """
    samples: list[float] = []
    end = time.perf_counter() + budget_s
    while len(samples) < runs and (len(samples) < least or time.perf_counter() < end):
        start = time.perf_counter_ns()
        call()
        samples.append((time.perf_counter_ns() - start) * 1e-9)
    return samples


def _rank(ordered: Sequence[float], part: float) -> float:
    """Quantile by linear interpolation."""
    at = part * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
