"""Times of groups from times of prefixes of the graph: what a cut at that place really buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Where the operators' sum is further than this from the whole, they are corrected by intervals.
TOLERANCE = 0.10
# How many prefixes of the graph are timed for it. Each costs an inference's time and a copy of its kernels.
PREFIXES = 12


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
    prefixes: Sequence[float],
    whole: float,
) -> dict[str, float]:
    """Scale times so that those of every interval add up to what the interval was measured to take.

    Args:
        times: Seconds of every group, as far as known.
        order: Groups in topological order.
        ends: How many groups each measured prefix has.
        prefixes: Seconds of each prefix.
        whole: Seconds of all groups.
    """
    rising = _monotone([*(min(p, whole) for p in prefixes), whole])
    # Prefixes that noise made equal tell nothing of what is between them: those intervals become one.
    last = {until: end for end, until in zip([*ends, len(order)], rising, strict=True)}
    found: dict[str, float] = {}
    start, before = 0, 0.0
    for until, end in last.items():
        members = order[start:end]
        known = sum(times[g] for g in members)
        for group in members:
            part = times[group] / known if known else 1 / len(members)
            found[group] = (until - before) * part
        start, before = end, until
    return found


def _monotone(values: Sequence[float]) -> list[float]:
    """The nearest sequence that never falls (pool adjacent violators): noise makes prefixes cross."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [((a * n + b * m) / (n + m), n + m)]
    return [mean for mean, size in blocks for _ in range(size)]
