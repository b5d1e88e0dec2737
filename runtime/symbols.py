"""One chunk of a coded tensor: integers to bytes and back.

A symbol is the upper bits of a magnitude (or of a distance from the lowest value), at most 15, which
stands for "15 or more". What it leaves over is raw: low bits, the excess over 15, signs. Raw bits are
what the lanes of the entropy coder start from; those that find no room there follow at the end. The
bytes of a chunk are so: stored states, two bytes each lane; coded bits; raw bits that are left.
"""

from __future__ import annotations

import numpy as np

from edgecut.runtime import bits, rans
from edgecut.runtime.tables import GROUP, Chunk, Tables

ESCAPE = rans.ALPHABET - 1
_WIDTH_BITS = 5
_PATTERN = (1 << np.arange(GROUP)).astype(np.int64)


class StreamError(ValueError):
    """Bytes are no stream of this tensor; the text says why."""


def encode(tables: Tables, chunk: Chunk, values: np.ndarray) -> bytes:
    """Code one chunk.

    Args:
        tables: Of the tensor.
        chunk: One of its chunks.
        values: all integers of the tensor and one 0 (or ``tables.low``) behind them.
    """
    signed = tables.signed
    dense, groups = values.take(chunk.dense), values.take(chunk.groups)
    large, small = (_magnitudes(tables, part) for part in (dense, groups))
    upper = large >> chunk.shifts if chunk.planes else large
    found = small > 0
    pattern = found.reshape(-1, GROUP) @ _PATTERN
    follow = small[found] - 1
    excess = [part[part >= ESCAPE] - ESCAPE for part in (upper, follow)]
    symbols = np.concatenate([upper, pattern, follow])
    np.minimum(symbols, ESCAPE, out=symbols)
    table = np.concatenate([chunk.first, chunk.rest[found]])
    negative = [dense[large > 0] < 0, groups[found] < 0] if signed else []
    planes = [(large.take(at) >> j & 1).astype(np.uint8) for j, at in enumerate(chunk.planes)]
    raw = np.concatenate([*planes, _escape(np.concatenate(excess)), *negative]).astype(np.uint8)
    room = chunk.lanes * rans.STATE
    start = np.zeros(room, np.uint8)
    start[: len(raw)] = raw[:room]
    rows = chunk.rows + rans.rows(len(follow), chunk.lanes)
    states, coded = rans.encode(tables.rans, symbols, table, start, rows)
    rest = np.packbits(raw[room:], bitorder="little")
    return np.packbits(states, bitorder="little").tobytes() + coded.tobytes() + rest.tobytes()


def longest(chunk: Chunk) -> int:
    """Bytes that a chunk never exceeds: a symbol has at most 13 coded bits and an integer 33 raw ones."""
    integers = len(chunk.dense) + len(chunk.groups)
    return chunk.lanes * rans.STATE // 8 + 6 * integers + 8


def decode(tables: Tables, chunk: Chunk, data: bytes, values: np.ndarray) -> None:
    """Decode one chunk into the integers of the tensor (and the one behind them).

    Raises:
        StreamError: The bytes are no such chunk.
    """
    body = np.frombuffer(data, np.uint8)
    begin = chunk.lanes * rans.STATE // 8
    if len(body) < begin:
        raise StreamError("a chunk is too short")
    states = np.unpackbits(body[:begin], bitorder="little")
    decoder = rans.Decoder(tables.rans, states, body[begin:])
    count = len(chunk.dense)
    try:
        first = decoder.read(chunk.first, chunk.rows)
        found = (first[count:, None] & _PATTERN).astype(bool).reshape(-1)
        table = chunk.rest[found]
        follow = decoder.read(table, rans.rows(len(table), chunk.lanes))
    except IndexError as error:
        raise StreamError("a chunk is too short") from error
    end = begin + (decoder.position + 7) // 8
    if end > len(body):
        raise StreamError("a chunk is too short")
    raw = _Raw(np.concatenate([decoder.raw(), np.unpackbits(body[end:], bitorder="little")]))
    upper = first[:count]
    planes = [raw.take(len(at)) for at in chunk.planes]
    for part, excess in zip((upper, follow), _excess(raw, upper, follow)):
        part[part == ESCAPE] += excess
    large = upper << chunk.shifts if chunk.planes else upper
    for j, at in enumerate(chunk.planes):
        large[at] |= planes[j].astype(np.int64) << j
    small = np.zeros(len(found), np.int64)
    small[found] = follow + 1
    for place, part in ((chunk.dense, large), (chunk.groups, small)):
        values[place] = _values(tables, part, raw)


def _magnitudes(tables: Tables, values: np.ndarray) -> np.ndarray:
    return np.abs(values) if tables.signed else (values - tables.low) & 0xFFFF


def _values(tables: Tables, magnitudes: np.ndarray, raw: _Raw) -> np.ndarray:
    if tables.signed:
        at = np.flatnonzero(magnitudes)
        magnitudes[at] *= 1 - 2 * raw.take(len(at)).astype(np.int64)
        return magnitudes
    found: np.ndarray = (magnitudes + tables.low).astype(np.int16)
    return found


def _escape(excess: np.ndarray) -> np.ndarray:
    """How far symbols go beyond the last one: the width of these numbers, and they."""
    if not len(excess):
        return np.zeros(0, np.uint8)
    width = max(int(excess.max()).bit_length(), 1)
    head = bits.from_integers(np.array([width]), _WIDTH_BITS)
    return np.concatenate([head, bits.from_integers(excess, width)])


def _excess(raw: _Raw, *parts: np.ndarray) -> list[np.ndarray]:
    counts = [int(np.count_nonzero(part == ESCAPE)) for part in parts]
    if not any(counts):
        return [np.zeros(0, np.int64) for _ in parts]
    width = int(bits.to_integers(raw.take(_WIDTH_BITS), _WIDTH_BITS)[0])
    if not 1 <= width <= 16:
        raise StreamError("a chunk holds an impossible number")
    both = bits.to_integers(raw.take(width * sum(counts)), width).astype(np.int64)
    return [both[: counts[0]], both[counts[0] :]]


class _Raw:
    """Raw bits, taken one part after the other."""

    def __init__(self, found: np.ndarray) -> None:
        self._found = found
        self._at = 0

    def take(self, count: int) -> np.ndarray:
        self._at += count
        if self._at > len(self._found):
            raise StreamError("a chunk is too short")
        return self._found[self._at - count : self._at]
