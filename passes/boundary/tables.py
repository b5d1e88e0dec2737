"""Fits the static tables of the entropy coder to the integers of calibration samples."""

import math

import numpy as np
from numpy.typing import NDArray

from edgecut.runtime import rans
from edgecut.runtime.tables import GROUP, MAX_LANES, Description, arrange

Ints = NDArray[np.int32]

PER_OCTAVE = 2
"""Classes for each doubling of the mean magnitude."""
SPARSE = 0.3
"""Below this mean magnitude patterns of four are coded instead of single symbols."""
CHUNK_BYTES = 500
"""At least, on average, of a chunk: what is lost when a stream is cut off in it. A chunk costs 7 bytes."""
LARGE_CHUNK_BYTES = 2000
FEW_CHUNKS, MAX_CHUNKS = 2, 8
"""More than a few chunks only where they are large: each costs time, as the lanes are divided among them."""
MAX_ROWS = 64
"""Rows that a chunk may take per phase, whatever its lanes then waste: a row costs time."""


def fit(samples: Ints) -> Description:
    """Tables for a tensor of integers.

    Args:
        samples: Its integers on calibration data, ``[samples, size]``.
    """
    signed = _is_signed(samples)
    low = 0 if signed else int(samples.min(initial=0))
    magnitudes = np.abs(samples) if signed else samples - low
    classes, dense, sparse = _classes(magnitudes)
    means = [float(magnitudes[:, classes == k].mean()) for k in range(dense)]
    shifts = np.array([_shift(mean) for mean in means], np.int64)
    order, split = arrange(classes, dense, sparse)
    filled = np.concatenate([magnitudes, np.zeros((len(magnitudes), 1), magnitudes.dtype)], axis=1)
    counts = _Counts(filled, np.append(classes, 0), order, split, shifts, sparse)
    frequencies = np.array([_normalized(row) for row in counts.rows()], np.uint16)
    bits, raw = counts.costs(frequencies, signed)
    return Description(signed, low, shifts, sparse, frequencies, _chunks(bits, raw, split), classes)


def _is_signed(samples: Ints) -> bool:
    """Whether magnitude and sign suit the integers better than their distance from the lowest."""
    return bool((samples < 0).any()) and abs(float(samples.mean())) < 0.25 * float(np.abs(samples).mean())


def _classes(magnitudes: Ints) -> tuple[NDArray[np.uint8], int, int]:
    """Class of each integer by its mean magnitude, and the number of dense and of sparse classes."""
    # One half in all samples together: what was never seen may still come.
    mean = (magnitudes.sum(axis=0, dtype=np.float64) + 0.5) / len(magnitudes)
    level = np.floor(-PER_OCTAVE * np.log2(mean)).astype(np.int64)
    bound = math.floor(-PER_OCTAVE * math.log2(SPARSE))
    level = np.minimum(level, level.min() + 200)
    used, classes = np.unique(level, return_inverse=True)
    dense = int((used <= bound).sum())
    return classes.astype(np.uint8).reshape(-1), dense, len(used) - dense


def _shift(mean: float) -> int:
    """Low bits that are nearly random where magnitudes have this mean."""
    return max(0, math.ceil(math.log2(mean / 3))) if mean > 0 else 0


class _Counts:
    """How often each symbol of each table occurs, and where."""

    def __init__(
        self,
        magnitudes: Ints,
        classes: NDArray[np.uint8],
        order: NDArray[np.int64],
        split: int,
        shifts: NDArray[np.int64],
        sparse: int,
    ) -> None:
        self.dense, self.sparse, self.shifts = len(shifts), sparse, shifts
        self.kind = classes[order].astype(np.int64)
        filling = order == len(classes) - 1
        self.kind[filling] = -1
        self.kind = np.maximum.accumulate(self.kind)
        found = magnitudes[:, order]
        self.large = found[:, :split] >> shifts[self.kind[:split]]
        self.low_bits = shifts[self.kind[:split]]
        self.nonzero_large = found[:, :split] > 0
        self.small = found[:, split:]
        self.split = split
        groups = (self.small > 0).reshape(len(found), -1, GROUP)
        self.patterns = groups @ (1 << np.arange(GROUP))

    def rows(self) -> list[NDArray[np.int64]]:
        """Counts of the symbols of each table."""
        size = rans.ALPHABET
        upper = np.minimum(self.large, size - 1)
        follow = np.minimum(np.maximum(self.small - 1, 0), size - 1)
        found = []
        for k in range(self.dense):
            found.append(np.bincount(upper[:, self.kind[: self.split] == k].ravel(), minlength=size))
        kinds = self.kind[self.split :]
        for k in range(self.dense, self.dense + self.sparse):
            found.append(np.bincount(self.patterns[:, kinds[::GROUP] == k].ravel(), minlength=size))
        for k in range(self.dense, self.dense + self.sparse):
            mine = kinds == k
            found.append(np.bincount(follow[:, mine][self.small[:, mine] > 0], minlength=size))
        return found

    def costs(
        self, frequencies: NDArray[np.uint16], signed: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean bits of each integer in the order, coded ones and raw ones (a group's stand at its first)."""
        size = rans.ALPHABET
        price = -np.log2(np.maximum(frequencies, 1) / rans.TOTAL)
        coded = np.zeros(len(self.kind))
        raw = np.zeros(len(self.kind))
        kinds = self.kind[: self.split]
        coded[: self.split] = price[kinds, np.minimum(self.large, size - 1)].mean(axis=0)
        raw[: self.split] = self.low_bits + signed * self.nonzero_large.mean(axis=0)
        kinds = self.kind[self.split :]
        some = self.small > 0
        follow = price[kinds + self.sparse, np.minimum(np.maximum(self.small - 1, 0), size - 1)]
        coded[self.split :] = (follow * some).mean(axis=0)
        coded[self.split :: GROUP] += price[kinds[::GROUP], self.patterns].mean(axis=0)
        raw[self.split :] = signed * some.mean(axis=0)
        return coded, raw


def _normalized(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Frequencies that sum up to 4096, none of them 0, close to counts that are smoothed a little."""
    weight = (counts + 0.4) / (counts.sum() + 0.4 * len(counts))
    exact = weight * (rans.TOTAL - len(counts)) + 1
    found = np.floor(exact).astype(np.int64)
    missing = rans.TOTAL - int(found.sum())
    found[np.argsort(found - exact, kind="stable")[:missing]] += 1
    return np.asarray(found, np.int64)


def _chunks(coded: NDArray[np.float64], raw: NDArray[np.float64], split: int) -> tuple[tuple[int, int], ...]:
    """Ends of chunks of about the same bytes, with as many lanes as raw bits can start."""
    total = np.cumsum(coded + raw)
    size = total[-1] / 8
    few = min(round(size / CHUNK_BYTES), FEW_CHUNKS)
    count = max(1, few, min(round(size / LARGE_CHUNK_BYTES), MAX_CHUNKS))
    found, begin = [], 0
    for i in range(1, count + 1):
        end = int(np.searchsorted(total, total[-1] * i / count)) + 1 if i < count else len(total)
        if end > split:
            end = min(split + math.ceil((end - split) / GROUP) * GROUP, len(total))
        if end <= begin:
            continue
        symbols = min(max(split - begin, 0), end - begin) + max(end - max(split, begin), 0) / GROUP
        lanes = max(int(0.9 * raw[begin:end].sum() / rans.STATE), math.ceil(symbols / MAX_ROWS), 1)
        found.append((end, min(lanes, MAX_LANES)))
        begin = end
    return tuple(found)
