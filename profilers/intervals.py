"""Times of groups corrected by times of prefixes of the graph: what a cut at that place really buys.

The runtime's own profiler tells the proportions of neighbours well and of distant parts less well; the
difference between two prefixes tells the opposite, for it is as uncertain as the whole prefixes are. So the
time of every interval between prefixes is the likeliest one given both: a least-squares fit in which each
measurement counts by how far it is to be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgecut.profilers import clock
from edgecut.profilers.record import Stats

# Where the operators' sum is further than this from the whole, they are corrected by intervals; but a call
# has a cost of its own, which every prefix has too (of one trivial operator from Python it is about 4 us).
TOLERANCE = 0.10
CALL_S = 5e-6
# How many prefixes of the graph are timed for it, in how much time. Each costs a copy of its kernels.
FEWEST, MOST = 3, 12
BUDGET_S = 0.5
# How far the operators of an interval are off, as a part of their sum, beyond what all operators are off.
DOUBT = 0.3
# A prefix is no more certain than this part of it, nor than this part of the whole, however small its spread:
# memory and clock differ from one to the next.
LEAST_SPREAD = 0.01
LEAST_PART = 0.001
# A prefix also pays for handing out its results, which the whole does not: an interval is at most so many
# times what the profiler saw of it, and at least that part.
FACTOR = 2.0


def apart(operators_s: float, whole_s: float) -> bool:
    """Whether operators, as the runtime's profiler times them, do not explain the whole."""
    return abs(operators_s - whole_s) > TOLERANCE * whole_s + CALL_S


def affordable(whole_s: float, load_s: float) -> int:
    """How many prefixes there is time for.

    Args:
        whole_s: Seconds of an inference.
        load_s: Seconds that it takes to load the model.
    """
    # On average a prefix is half of the model; beside each run of it, the whole runs too.
    each = clock.LEAST * 1.5 * whole_s + load_s / 2
    return max(FEWEST, min(MOST, int(BUDGET_S / each)))


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


def relative(prefix: Stats, beside: Stats, whole: Stats) -> Stats:
    """A prefix as it would have been timed together with the whole.

    Args:
        prefix: Its times.
        beside: Those of the whole, taken in turns with it.
        whole: Those of the whole that times are to be relative to.
    """
    factor = whole.median_s / beside.median_s
    return replace(prefix, median_s=prefix.median_s * factor, min_s=prefix.min_s * factor)


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
    told = np.maximum(told, whole / len(intervals) / 10)
    doubt = DOUBT * told
    ended = np.array([p.median_s for p in prefixes])
    off = np.array([max(p.spread, LEAST_SPREAD) * p.median_s for p in prefixes])
    off = np.maximum(off, LEAST_PART * whole)
    up_to = np.tri(len(intervals))
    rows = np.vstack([np.diag(1 / doubt), up_to[:-1] / off[:, None], up_to[-1:] * (1e3 / whole)])
    fitted = nnls(rows, np.concatenate([told / doubt, ended / off, [1e3]]))[0]
    fitted = np.clip(fitted, told / FACTOR, told * FACTOR)
    found: dict[str, float] = {}
    for members, seconds in zip(intervals, fitted * (whole / fitted.sum()), strict=True):
        known = sum(times[g] for g in members)
        found.update({g: seconds * (times[g] / known if known else 1 / len(members)) for g in members})
    return found
