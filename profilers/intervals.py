"""Times of groups corrected by times of prefixes of the graph: what a cut at that place really buys.

The runtime's own profiler tells the proportions of neighbours well and of distant parts less well; the
difference between two prefixes tells the opposite, for it is as uncertain as the whole prefixes are. So the
time of every interval between prefixes is the likeliest one given both: a least-squares fit in which each
measurement counts by how far it is to be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecut.profilers.record import Stats

# Where the operators' sum is further than this from the whole, they are corrected by intervals.
TOLERANCE = 0.10
# How many prefixes of the graph are timed for it. Each costs an inference's time and a copy of its kernels.
PREFIXES = 12
# How far the operators of an interval are off, as a part of their sum, beyond what all operators are off.
DOUBT = 0.3
# A prefix is no more certain than this part of it, nor than this part of the whole, however small its spread:
# memory and clock differ from one to the next.
LEAST_SPREAD = 0.01
LEAST_PART = 0.001


def places(order: Sequence[str], weights: Mapping[str, float], count: int) -> list[int]:
    """Where to end prefixes: about the same weight between each two, never at the very end.

    Returns:
        Numbers of groups in each prefix, rising.
    """
    total = sum(weights[g] for g in order)
    found: list[int] = []
    passed = 0.0
    for i, group in enumerate(order[:-1], start=1):
        passed += weights[group]
        if passed >= total * (len(found) + 1) / (count + 1):
            found.append(i)
    return found


def correct(
    times: Mapping[str, float],
    order: Sequence[str],
    ends: Sequence[int],
    prefixes: Sequence[Stats],
    whole: float,
) -> dict[str, float]:
    """Scale times by intervals: they add up to the whole and, as far as it is certain, to each prefix.

    Args:
        times: Seconds of every group by the runtime's profiler.
        order: Groups in topological order.
        ends: How many groups each measured prefix has.
        prefixes: Timings of each prefix.
        whole: Seconds of all groups.
    """
    from scipy.optimize import nnls

    total = sum(times[g] for g in order)
    intervals = [order[a:b] for a, b in zip([0, *ends], [*ends, len(order)], strict=True)]
    if not total:
        return {group: whole / len(order) for group in order}
    told = np.array([sum(times[g] for g in members) for members in intervals]) * (whole / total)
    # An interval of which the profiler saw nothing may still take a little.
    doubt = DOUBT * np.maximum(told, whole / len(intervals) / 10)
    ended = np.array([p.median_s for p in prefixes])
    apart = np.array([max(p.spread, LEAST_SPREAD) * p.median_s for p in prefixes])
    apart = np.maximum(apart, LEAST_PART * whole)
    up_to = np.tri(len(intervals))
    rows = np.vstack([np.diag(1 / doubt), up_to[:-1] / apart[:, None], up_to[-1:] * (1e3 / whole)])
    fitted = nnls(rows, np.concatenate([told / doubt, ended / apart, [1e3]]))[0]
    found: dict[str, float] = {}
    for members, seconds in zip(intervals, fitted * (whole / fitted.sum()), strict=True):
        known = sum(times[g] for g in members)
        found.update({g: seconds * (times[g] / known if known else 1 / len(members)) for g in members})
    return found
