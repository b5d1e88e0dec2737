"""Ranges chosen by what they do to the outputs.

Where one tensor only is rounded, the outputs tell what its range costs: what is cut off may not matter (a
Relu follows), or be all that matters (the scores themselves). Errors of independent roundings add up, so
each group of values that share a grid is judged by itself. A range is taken from one half of the samples and
judged on the other, both ways round: how far unseen data leaves it is seen, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from edgecut.ir import extract, work
from edgecut.ir.program import Program, nbytes
from edgecut.passes.divergence import scores
from edgecut.passes.numerics import Array, Runner, Sample
from edgecut.passes.quantize import region
from edgecut.passes.quantize.calibrate import Method
from edgecut.passes.quantize.integers import Calibrated

Share = tuple[float, float]
"""Low and high end of a range, each as a multiple of the extreme number seen."""

# How the ranges that are started from follow from the data: clipped, and not.
STARTS: tuple[Method, Method] = ("mse", "minmax")
# Fewer samples say too little about how far others leave their range.
FEWEST = 24
# Of more samples only the first are looked at.
MOST = 256
# Operations of all trials together, so that this takes some seconds and not hours.
_MACS = 1e12
_TRIALS = 8
# Values that need more than this on the fewest samples, with inputs and outputs, keep the ranges that are
# started from.
_KEPT_BYTES = 192 << 20
# Walked are the ends of groups that make at least this much of the average error.
_WORTH = 0.1
# Beyond what was seen; then both ends walk in such steps as long as that helps.
_WIDER = (1.12, 1.25)
_STEP = 1.15
_LEAST = 0.25


def shares(
    extremes: Calibrated, clipped: Calibrated, samples: Iterable[Sample], advance: Callable[[], None]
) -> dict[str, Share]:
    """How much of its extremes each value's range should span.

    Args:
        extremes: A float program with the least and greatest number of each value as its range.
        clipped: The same with ranges that cut outliers off, which are tried first.
        samples: Inputs; the first of them are used.
        advance: Called twice for each group of values that share one grid.

    Returns:
        By name of the value, but for those whose grid is given; none where the program is too large to try.
    """
    program = extremes.program
    groups = _groups(extremes)
    whole = sum(map(work.macs, program.nodes)) * max(len(groups), 1) * _TRIALS / 2
    chosen = list(islice(samples, int(min(MOST, _MACS / max(whole, 1)))))
    found: dict[str, Share] = {}
    if len(chosen) < FEWEST:
        return found
    starts = []
    for names, _ in groups:
        ratio = _ratio(clipped, extremes, names[0])
        starts.append(_start(extremes, names, chosen, ratio))
        advance()
    worth = _WORTH * sum(error for _, error in starts) / max(len(groups), 1)
    for (names, values), (share, error) in zip(groups, starts, strict=True):
        if error >= worth > 0:
            share = _Trial.of(extremes, names, chosen).walk(share)
        found.update(dict.fromkeys(values, share))
        advance()
    return found


def ranged(extremes: Calibrated, found: Mapping[str, Share]) -> Calibrated:
    """The program with these shares of its extremes as ranges; other values keep theirs."""
    spans = {
        name: (low * found[name][0], high * found[name][1]) if name in found else (low, high)
        for name, (low, high) in extremes.spans.items()
    }
    return replace(extremes, spans=spans)


def count(model: Calibrated) -> int:
    """How often `shares` calls ``advance``."""
    return 2 * len(_groups(model))


def _groups(model: Calibrated) -> list[tuple[list[str], list[str]]]:
    """Values with numbers of their own, and all that have the same grid; not those whose grid is given."""
    found = model.region()
    groups = [(region.sources(group, found) or group, group) for group in region.ties(found)]
    return [
        ([v.name or "" for v in own], [v.name or "" for v in group])
        for own, group in groups
        if model.known_grid(group, found) is None
    ]


def _start(
    model: Calibrated, names: Sequence[str], samples: Sequence[Sample], ratio: Share
) -> tuple[Share, float]:
    """The best of the extremes, a share of them, and wider ranges, and its error."""
    if FEWEST * _kept_bytes(model.program, names) > _KEPT_BYTES:
        return ratio, 0.0
    trial = _Trial.of(model, names, samples)
    return trial.better(((1.0, 1.0), ratio, *((w, w) for w in _WIDER)))


def _kept_bytes(program: Program, names: Sequence[str]) -> int:
    """Of one sample: what a trial keeps of it."""
    values = program.values()
    ends = [spec.name for spec in (*program.inputs, *program.outputs)]
    return sum(nbytes(values[n]) for n in {*names, *ends})


def _ratio(clipped: Calibrated, extremes: Calibrated, name: str) -> Share:
    pairs = zip(clipped.spans[name], extremes.spans[name], strict=True)
    low, high = (part / whole if whole else 1.0 for part, whole in pairs)
    return low, high


@dataclass
class _Trial:
    """Rounds some values, and runs what comes after them."""

    model: Calibrated
    names: Sequence[str]
    rest: Runner | None
    reads: frozenset[str]
    samples: Sequence[Sample]
    real: Sequence[Mapping[str, Array]]
    """The values and the scores, per sample."""
    powers: Mapping[str, float]
    """Of the scores, over all samples."""
    errors: NDArray[np.float64]
    """Of each sample, when its error was last measured: the largest are measured first."""

    @classmethod
    def of(cls, model: Calibrated, names: Sequence[str], samples: Sequence[Sample]) -> _Trial:
        program = model.program
        samples = samples[: _KEPT_BYTES // max(_kept_bytes(program, names), 1)]
        inputs = [spec.name for spec in program.inputs]
        wanted = [scores(program, spec.name) for spec in program.outputs]
        run = Runner(program, [n for n in (*names, *wanted) if n not in inputs])
        real = [{**sample, **run(sample)} for sample in samples]
        powers = {
            n: max(sum(float(np.sum(np.square(r[n], dtype=np.float64))) for r in real), 1e-30) for n in wanted
        }
        after = [n for n in wanted if n not in names]
        unknown = np.zeros(len(samples))
        if not after:
            return cls(model, names, None, frozenset(), samples, real, powers, unknown)
        others = [n for n in inputs if n not in names]
        part = extract.subgraph(program, [*others, *names], after, "rest")
        reads = frozenset(spec.name for spec in part.inputs)
        return cls(model, names, Runner(part), reads, samples, real, powers, unknown)

    def better(
        self, tried: Iterable[Share], least: float = np.inf, best: Share = (1.0, 1.0)
    ) -> tuple[Share, float]:
        """The share of least error and its error, the best so far among them."""
        for share in tried:
            error = self._error(share, least)
            if error < least:
                best, least = share, error
        return best, least

    def walk(self, first: Share) -> Share:
        """From a share on to where the error grows again."""
        best, least = self.better((first,))
        for end in (1, 0):
            if not any(self._extremes[half][end] for half in (0, 1)):
                continue
            for step in (1 / _STEP, _STEP):
                share = best
                while _LEAST < share[end] < 2:
                    share = (best[0], best[1] * step) if end else (best[0] * step, best[1])
                    found, error = self.better((share,), least, best)
                    if found is best:
                        break
                    best, least = found, error
        return best

    @cached_property
    def _extremes(self) -> list[tuple[float, float]]:
        """Least and greatest number in each half, zero among them."""
        halves = [[r[n] for r in self.real[half::2] for n in self.names] for half in (0, 1)]
        return [
            (min(0.0, *(float(a.min()) for a in half)), max(0.0, *(float(a.max()) for a in half)))
            for half in halves
        ]

    def _error(self, share: Share, limit: float) -> float:
        """Squared error of the scores over their power; where it exceeds a limit, some of it."""
        spans = [[part * end for part, end in zip(share, ends, strict=True)] for ends in self._extremes]
        grids = [self.model.spanning(low, high) for low, high in reversed(spans)]
        total = 0.0
        for i in np.argsort(-self.errors, kind="stable"):
            sample, real = self.samples[i], self.real[i]
            rounded = {n: grids[i % 2].round(real[n]) for n in self.names}
            self.errors[i] = self._noise({**sample, **rounded}, real)
            total += float(self.errors[i])
            if total >= limit:
                break
        return total

    def _noise(self, rounded: Mapping[str, Array], real: Mapping[str, Array]) -> float:
        """Of one sample, added up over the scores."""
        read = {name: array for name, array in rounded.items() if name in self.reads}
        found = {**rounded, **(self.rest(read) if self.rest is not None else {})}
        squares = {n: np.square(found[n] - real[n], dtype=np.float64) for n in self.powers}
        return sum(float(np.sum(squares[n])) / power for n, power in self.powers.items())
