"""Ranges chosen by what they do to the outputs.

Where one tensor only is rounded, the outputs tell what its range costs: what is cut off may not matter (a
Relu follows), or be all that matters (the scores themselves). Errors of independent roundings add up, so
each group of values that share a grid is judged by itself. A range is taken from one half of the samples and
judged on the other, both ways round: how far unseen data leaves it is seen, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from edgecut.ir import extract, work
from edgecut.ir.program import nbytes
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
FEWEST = 32
# Of more samples only the first are looked at.
MOST = 256
# Operations of all trials together, so that this takes some seconds and not hours.
_MACS = 1e12
_TRIALS = 8
_KEPT_BYTES = 64 << 20
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
        advance: Called after each group of values that share one grid.

    Returns:
        By name of the values that `wanted` names; none where the program is too large to try.
    """
    program = extremes.program
    groups = _groups(extremes)
    whole = sum(map(work.macs, program.nodes)) * max(len(groups), 1) * _TRIALS / 2
    chosen = list(islice(samples, int(min(MOST, _MACS / max(whole, 1)))))
    found: dict[str, Share] = {}
    if len(chosen) < FEWEST:
        return found
    for names, values in groups:
        trial = _Trial.of(extremes, names, chosen)
        share = trial.best(_ratio(clipped, extremes, names[0]))
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
    return len(_groups(model))


def _groups(model: Calibrated) -> list[tuple[list[str], list[str]]]:
    """Values with numbers of their own, and all that have the same grid; not those whose grid is given."""
    found = model.region()
    groups = [(region.sources(group, found) or group, group) for group in region.ties(found)]
    return [
        ([v.name or "" for v in own], [v.name or "" for v in group])
        for own, group in groups
        if model.known_grid(group, found) is None
    ]


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

    @classmethod
    def of(cls, model: Calibrated, names: Sequence[str], samples: Sequence[Sample]) -> _Trial:
        program = model.program
        values = program.values()
        size = sum(nbytes(values[n]) for n in names)
        samples = samples[: max(FEWEST, _KEPT_BYTES // max(size, 1))]
        inputs = [spec.name for spec in program.inputs]
        wanted = [scores(program, spec.name) for spec in program.outputs]
        run = Runner(program, [n for n in (*names, *wanted) if n not in inputs])
        real = [{**sample, **run(sample)} for sample in samples]
        powers = {
            n: max(sum(float(np.sum(np.square(r[n], dtype=np.float64))) for r in real), 1e-30) for n in wanted
        }
        after = [n for n in wanted if n not in names]
        if not after:
            return cls(model, names, None, frozenset(), samples, real, powers)
        others = [n for n in inputs if n not in names]
        part = extract.subgraph(program, [*others, *names], after, "rest")
        reads = frozenset(spec.name for spec in part.inputs)
        return cls(model, names, Runner(part), reads, samples, real, powers)

    def best(self, first: Share) -> Share:
        """Walk from the better of some shares to where the error grows again."""
        best, least = (1.0, 1.0), self._error((1.0, 1.0), np.inf)
        for share in (first, *((w, w) for w in _WIDER)):
            error = self._error(share, least)
            if error < least:
                best, least = share, error
        for end in (1, 0):
            for step in (1 / _STEP, _STEP):
                while True:
                    share = (best[0], best[1] * step) if end else (best[0] * step, best[1])
                    error = self._error(share, least) if _LEAST < share[end] < 2 else np.inf
                    if error >= least:
                        break
                    best, least = share, error
        return best

    def _error(self, share: Share, limit: float) -> float:
        """Squared error of the scores over their power; where it exceeds a limit, some of it."""
        total = 0.0
        for half in (0, 1):
            others = self.real[1 - half :: 2]
            low = share[0] * min(float(r[n].min()) for r in others for n in self.names)
            high = share[1] * max(float(r[n].max()) for r in others for n in self.names)
            own = self.model.spanning(low, high)
            for sample, real in zip(self.samples[half::2], self.real[half::2], strict=True):
                total += self._noise({**sample, **{n: own.round(real[n]) for n in self.names}}, real)
                if total >= limit:
                    return total
        return total

    def _noise(self, rounded: Mapping[str, Array], real: Mapping[str, Array]) -> float:
        """Of one sample, added up over the scores."""
        read = {name: array for name, array in rounded.items() if name in self.reads}
        found = {**rounded, **(self.rest(read) if self.rest is not None else {})}
        squares = {n: np.square(found[n] - real[n], dtype=np.float64) for n in self.powers}
        return sum(float(np.sum(squares[n])) / power for n, power in self.powers.items())
