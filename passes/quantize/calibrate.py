"""Ranges of values on real inputs, gathered sample by sample in bounded memory.

One pass over the data finds the extremes. The methods that cut outliers off need histograms, which a
second pass fills between those extremes. Values are watched in batches of at most `WATCHED_BYTES`
per sample, each batch in a run of its own, however many samples there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program, nbytes
from edgecut.passes.numerics import Array, Runner, Sample
from edgecut.passes.quantize import clipping
from edgecut.passes.quantize.clipping import Levels

Method = Literal["minmax", "percentile", "entropy", "mse"]
Range = tuple[float, float]
Counts = NDArray[np.int64]

WATCHED_BYTES = 256 << 20
BINS = 2048


def ranges(
    program: Program,
    names: Sequence[str],
    samples: Iterable[Sample],
    method: Method = "minmax",
    *,
    percentile: float = 99.99,
    levels: Levels = clipping.PLAIN,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Range]:
    """The range in which each value is to be quantized.

    Args:
        program: Float program.
        names: Values to watch.
        samples: Inputs; iterated over once or twice per batch of values.
        method: How much of the tails is cut off.
        percentile: Share of the numbers to keep, for the method of that name, in percent.
        levels: What the ranges are to be divided into.
        advance: Called after each sample.

    Raises:
        ModelError: A number in the data or in a value is not finite.
    """
    found: dict[str, Range] = {}
    inputs = {spec.name for spec in program.inputs}
    for batch in _batches(program, names):
        runner = Runner(program, [n for n in batch if n not in inputs])
        extremes = _extremes(runner, batch, samples, advance)
        if method != "minmax":
            counts = _histograms(runner, extremes, samples, advance)
            extremes = {n: clipping.clip(counts[n], extremes[n], method, percentile, levels) for n in batch}
        found.update(extremes)
    return found


def passes_over(program: Program, names: Sequence[str], method: Method) -> int:
    """How often `ranges` reads all samples."""
    return len(list(_batches(program, names))) * (1 if method == "minmax" else 2)


def _batches(program: Program, names: Sequence[str]) -> Iterator[list[str]]:
    values = program.values()
    batch: list[str] = []
    room = WATCHED_BYTES
    for name in names:
        size = nbytes(values[name])
        if batch and size > room:
            yield batch
            batch, room = [], WATCHED_BYTES
        batch.append(name)
        room -= size
    if batch:
        yield batch


def _watch(
    runner: Runner, names: Iterable[str], samples: Iterable[Sample], advance: Callable[[], None]
) -> Iterator[dict[str, Array]]:
    for sample in samples:
        results = runner(sample)
        yield {n: sample[n] if n in sample else results[n] for n in names}
        advance()


def _extremes(
    runner: Runner, names: Sequence[str], samples: Iterable[Sample], advance: Callable[[], None]
) -> dict[str, Range]:
    found = dict.fromkeys(names, (np.inf, -np.inf))
    for values in _watch(runner, names, samples, advance):
        for name, array in values.items():
            low, high = float(array.min()), float(array.max())
            if not np.isfinite(low + high):
                raise ModelError("becomes NaN or infinity on the calibration data", where=name)
            found[name] = min(found[name][0], low), max(found[name][1], high)
    return found


def _histograms(
    runner: Runner, extremes: dict[str, Range], samples: Iterable[Sample], advance: Callable[[], None]
) -> dict[str, Counts]:
    counts = {n: np.zeros(BINS, np.int64) for n in extremes}
    for values in _watch(runner, extremes, samples, advance):
        for name, array in values.items():
            counts[name] += _count(array, extremes[name])
    return counts


def _count(array: Array, span: Range) -> Counts:
    low, high = span
    if high <= low:
        return np.bincount(np.zeros(array.size, np.int32), minlength=BINS)
    scaled = (array.ravel() - np.float32(low)) * np.float32(BINS / (high - low))
    bins = np.clip(scaled, 0, BINS - 1).astype(np.int32)
    return np.bincount(bins, minlength=BINS)
