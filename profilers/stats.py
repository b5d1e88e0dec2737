"""Robust figures of repeated timings. Runs on the device: standard library, Python 3.9."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from edgecut.profilers.clock import Run
from edgecut.profilers.record import Stats

# A run is far off when it is this many median absolute deviations above the median (a scheduler's
# pause, say), and at least this part of the median above it (quiet machines have tiny deviations).
FAR_DEVIATIONS = 6.0
FAR_PART = 0.10
# The spread is that of the medians of this many stretches of runs, one after the other in time.
STRETCHES = 10
# A clock that counts whole microseconds is off by so much at either end.
TICKS_S = 2e-6


def describe(runs: Sequence[Run]) -> Stats:
    """Describe at least one timing.

    What makes two profiles differ is not the noise from one run to the next, which a median evens out, but
    how the machine's state drifts. So the spread is the range of the medians of stretches of runs.
    """
    samples = [r.seconds for r in runs]
    kept = sorted(without_outliers(samples))
    middle = statistics.median(kept)
    stretches = [statistics.median(s) for s in _stretches(samples)]
    spread = (max(stretches) - min(stretches)) / middle if middle else 0.0
    interrupted = sum(r.interrupted for r in runs)
    return Stats(middle, kept[0], _rank(kept, 0.9), spread, len(kept), len(samples) - len(kept), interrupted)


def without_outliers(samples: Sequence[float], least: float = 0.0) -> list[float]:
    """The samples that are not far above the others, by more than ``least`` at any rate."""
    middle = statistics.median(samples)
    deviation = statistics.median(abs(s - middle) for s in samples)
    limit = middle + max(FAR_DEVIATIONS * deviation, FAR_PART * middle, least)
    return [s for s in samples if s <= limit]


def ticks(samples: Sequence[float]) -> float:
    """Mean of times by a clock of whole microseconds, without the pauses of a scheduler.

    An operator of 1.3 us reads 1 us in most runs and 2 us in some: only the mean of all of them is true.
    """
    return statistics.fmean(without_outliers(samples, TICKS_S))


def _stretches(samples: Sequence[float]) -> list[Sequence[float]]:
    count = min(STRETCHES, len(samples))
    return [samples[len(samples) * i // count : len(samples) * (i + 1) // count] for i in range(count)]


def _rank(ordered: Sequence[float], part: float) -> float:
    """Quantile by linear interpolation."""
    at = part * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
