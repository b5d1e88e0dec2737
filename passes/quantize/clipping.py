"""How much of a distribution's tails to cut off before it is quantized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

Error = Callable[[Counts, Floats, float, float], float]


@dataclass(frozen=True)
class Levels:
    """What a range is divided into."""

    count: int = 255
    """Steps between its ends."""
    symmetric: bool = False
    """Whether zero is in its middle."""


_SHARES = np.linspace(0.2, 1.0, 41)

PLAIN = Levels()


def clip(counts: Counts, span: Range, method: str, percentile: float, levels: Levels = PLAIN) -> Range:
    """The range to quantize in.

    Args:
        counts: Histogram of equal bins over ``span``.
        span: Least and greatest number seen.
        method: ``percentile``, ``entropy`` or ``mse``.
        percentile: Share of the numbers to keep, in percent.
        levels: What the range is divided into.
    """
    if span[1] <= span[0] or not counts.any():
        return span
    if method == "percentile":
        return _percentile(counts, span, percentile)
    search = _search_both if levels.symmetric else _search
    if method == "mse":
        return search(counts, span, partial(_squared_error, levels.count))
    return search(_without_zeros(counts, span), span, partial(_divergence, levels.count))


def _percentile(counts: Counts, span: Range, percentile: float) -> Range:
    edges = np.linspace(*span, len(counts) + 1)
    cumulative = np.cumsum(counts) / counts.sum()
    tail = (1 - percentile / 100) / 2
    low = edges[int(np.searchsorted(cumulative, tail, side="right"))]
    high = edges[min(int(np.searchsorted(cumulative, 1 - tail)) + 1, len(counts))]
    return float(low), float(high)


def _without_zeros(counts: Counts, span: Range) -> Counts:
    """Zeros, of which a Relu makes many, are exact on every grid: they must not count as information lost."""
    bin_ = int((0 - span[0]) / (span[1] - span[0]) * len(counts))
    if not 0 <= bin_ < len(counts):
        return counts
    around = counts[max(0, bin_ - 1) : bin_ + 2].copy()
    around[min(bin_, 1)] = 0
    found = counts.copy()
    found[bin_] = min(counts[bin_], around.max(initial=0))
    return found


def _search(counts: Counts, span: Range, error: Error) -> Range:
    """Shrink one end after the other to where the error is least; an end at zero stays there."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    edges = np.linspace(*span, len(counts) + 1)
    centers = (edges[:-1] + edges[1:]) / 2
    for _ in range(2):
        high = min(
            (float(s * max(span[1], 0.0)) for s in _SHARES), key=lambda h: error(counts, centers, low, h)
        )
        low = min(
            (float(s * min(span[0], 0.0)) for s in _SHARES), key=lambda v: error(counts, centers, v, high)
        )
    return low, high


def _search_both(counts: Counts, span: Range, error: Error) -> Range:
    """The same with zero in the middle: both ends move together."""
    edges = np.linspace(*span, len(counts) + 1)
    centers = (edges[:-1] + edges[1:]) / 2
    most = max(abs(span[0]), abs(span[1]))
    high = min((float(s * most) for s in _SHARES), key=lambda h: error(counts, centers, -h, h))
    return -high, high


def _squared_error(levels: int, counts: Counts, centers: Floats, low: float, high: float) -> float:
    """Rounding noise inside of the range and squared distance to it outside, summed over the numbers."""
    if high <= low:
        return float("inf")
    step = (high - low) / levels
    distance = np.maximum(centers - high, 0) + np.maximum(low - centers, 0)
    inside = distance == 0
    return float(counts[inside].sum() * step**2 / 12 + (counts * distance**2).sum())


def _divergence(levels: int, counts: Counts, centers: Floats, low: float, high: float) -> float:
    """Kullback-Leibler divergence of the quantized from the real distribution."""
    if high <= low:
        return float("inf")
    real = counts.astype(np.float64)
    inside = (centers >= low) & (centers <= high)
    clipped = np.where(inside, real, 0)
    kept = np.flatnonzero(inside)
    if kept.size == 0:
        return float("inf")
    clipped[kept[0]] += real[: kept[0]].sum()
    clipped[kept[-1]] += real[kept[-1] + 1 :].sum()
    level = np.clip(((centers - low) / (high - low) * levels).astype(int), 0, levels - 1)
    occupied = (real > 0) & inside
    mass = np.bincount(level[inside], weights=real[inside], minlength=levels)
    width = np.bincount(level[occupied], minlength=levels)
    model = np.where(occupied, (mass / np.maximum(width, 1))[level], 0)
    total, smooth = clipped.sum(), 1e-9
    p, q = clipped[kept] / total + smooth, model[kept] / max(model.sum(), 1) + smooth
    return float((p * np.log(p / q)).sum())
