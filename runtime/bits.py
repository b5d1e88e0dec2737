"""Arrays of bits and integers, without loops. In bytes the first bit is the lowest one."""

from __future__ import annotations

import numpy as np


def from_integers(values: np.ndarray, width: int) -> np.ndarray:
    """Bits (uint8 0 or 1) of integers of the same width, at most 16; the lowest of each comes first."""
    raw = values.astype("<u2").view(np.uint8).reshape(-1, 2)
    return np.unpackbits(raw, axis=1, bitorder="little")[:, :width].reshape(-1)


def to_integers(bits: np.ndarray, width: int) -> np.ndarray:
    """The inverse of `from_integers`, as uint16."""
    wide = np.zeros((len(bits) // width, 16), np.uint8)
    wide[:, :width] = bits.reshape(-1, width)
    return np.packbits(wide, axis=1, bitorder="little").view("<u2").reshape(-1)


def pack(values: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Bytes (uint8) of the low bits of integers, one after the other; the last byte is filled with zeros.

    Args:
        values: Not negative; only the low ``width`` bits count.
        widths: At most 31.
    """
    kept = np.flatnonzero(widths)
    if not len(kept):
        return np.zeros(0, np.uint8)
    wide = widths[kept]
    end = np.cumsum(wide)
    start = end - wide
    parts = (values[kept] & ((1 << wide) - 1)) << (start & 31)
    word = start >> 5
    # Parts of one word do not overlap, so adding them is writing them side by side.
    first = np.flatnonzero(np.diff(word, prepend=-1))
    sums = np.zeros(int(word[-1]) + 2, np.int64)
    sums[word[first]] = np.add.reduceat(parts, first)
    words = sums & 0xFFFFFFFF
    words[1:] |= sums[:-1] >> 32
    return words.astype("<u4").view(np.uint8)[: int(end[-1] + 7) >> 3]


def windows(data: np.ndarray) -> np.ndarray:
    """For each byte, it and the two that follow as one int64; behind the end come zeros.

    So ``windows(data)[p >> 3] >> (p & 7)`` begins with bit ``p`` and holds at least 17 bits.
    """
    padded = np.zeros(len(data) + 3, np.int64)
    padded[: len(data)] = data
    return padded[:-2] | padded[1:-1] << 8 | padded[2:] << 16
