"""Asymmetric numeral systems with static tables, many coders interleaved in one stream of bits.

A symbol of frequency ``f`` of 4096 takes about ``log2(4096 / f)`` bits (J. Duda, "Asymmetric numeral
systems", 2013; interleaved as F. Giesen describes, "Interleaved entropy coders", 2014). Every lane is a
coder of its own, so a row of symbols, one per lane, is one vector operation. States are kept in
``[2**16, 2**17)`` by shifting out single bits, so that a state that is stored costs no more than what it
holds; and a lane starts from 16 bits of the caller's raw data, so that it costs nothing at all.

Integers only: every machine computes the same bits. Frequencies are those of `Tables`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgecut.runtime import bits

PRECISION = 12
TOTAL = 1 << PRECISION
ALPHABET = 16
"""Symbols of each table."""
STATE = 16
"""Bits of raw data that a lane takes, and of a stored state."""
_LOW = 1 << STATE


@dataclass(frozen=True, eq=False)
class Tables:
    """Frequencies, and what coding looks up instead of computing it.

    Args:
        frequencies: uint16 ``[tables, 16]``; each row sums up to 4096. A symbol of frequency 0 cannot be
            coded.

    Raises:
        ValueError: They are no such table.
    """

    frequencies: np.ndarray
    start: np.ndarray = field(init=False)
    """Sum of the frequencies before each symbol's."""
    shift: np.ndarray = field(init=False)
    """Bits that a state below `threshold` gives; one above gives one more."""
    threshold: np.ndarray = field(init=False)
    slots: np.ndarray = field(init=False)
    """For each of the 4096 slots of each table: frequency << 16 | offset in the symbol << 4 | symbol."""

    def __post_init__(self) -> None:
        f = np.asarray(self.frequencies).astype(np.int64)
        if f.ndim != 2 or f.shape[1] != ALPHABET or (f < 0).any() or (f.sum(axis=1) != TOTAL).any():
            raise ValueError(f"frequencies must be rows of {ALPHABET} that sum up to {TOTAL}")
        start = np.cumsum(f, axis=1, dtype=np.int64) - f
        scaled = np.maximum(f, 1) << (STATE - PRECISION)
        log = _LOG[scaled]
        symbol = np.repeat(np.tile(np.arange(ALPHABET), len(f)), f.ravel()).reshape(len(f), TOTAL)
        row = np.arange(len(f))[:, None]
        offset = np.arange(TOTAL) - start[row, symbol]
        packed = f[row, symbol] << 16 | offset << 4 | symbol
        values = {
            "frequencies": f.ravel(),
            "start": start.ravel(),
            "shift": (STATE - 1 - log).ravel().astype(np.int64),
            "threshold": (scaled << (STATE - log)).ravel().astype(np.int64),
            "slots": packed.ravel().astype(np.int64),
        }
        for name, array in values.items():
            object.__setattr__(self, name, array)

    def bits(self, symbols: np.ndarray, tables: np.ndarray) -> float:
        """Bits that the symbols take at the least: their information under the tables."""
        return float(-np.log2(self.frequencies[tables * ALPHABET + symbols] / TOTAL).sum())


def encode(
    tables: Tables, symbols: np.ndarray, table: np.ndarray, raw: np.ndarray, rows: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Code symbols, row by row.

    Args:
        tables: Their frequencies.
        symbols: less than 16; none of frequency 0.
        table: the table of each symbol.
        raw: uint8 0 or 1, 16 for each lane: what the lanes start from.
        rows: Sizes of the rows, which together hold the symbols; none is larger than the lanes.

    Returns:
        The states at the end, as bits (uint8 0 or 1), 16 per lane; and the coded bits.
    """
    at = table * ALPHABET + symbols
    f, start = tables.frequencies[at], tables.start[at]
    shift, threshold = tables.shift[at], tables.threshold[at]
    gain = TOTAL - f
    states = np.empty(len(symbols), np.int64)
    widths = np.empty(len(symbols), np.int64)
    x = bits.to_integers(raw, STATE).astype(np.int64) + _LOW
    high = len(symbols)
    over = np.empty(len(x), bool)
    for size in reversed(rows):
        low = high - size
        lane, row = x[:size], slice(low, high)
        states[row] = lane
        width = widths[row]
        np.greater_equal(lane, threshold[row], out=over[:size])
        np.add(shift[row], over[:size], out=width)
        lane >>= width
        # x = (lane // f << 12) + start + lane % f, with one division
        lane += (lane // f[row]) * gain[row]
        lane += start[row]
        high = low
    return bits.from_integers(x - _LOW, STATE), bits.pack(states, widths)


class Decoder:
    """Reads what `encode` made, in the same rows.

    Garbage gives symbols that mean nothing; `position` may then be beyond the end.

    Args:
        tables: The same tables.
        states: Bits of the states at the end, 16 per lane.
        coded: Bytes that begin with the coded bits.
    """

    def __init__(self, tables: Tables, states: np.ndarray, coded: np.ndarray) -> None:
        self._tables = tables
        self._x = bits.to_integers(states, STATE).astype(np.int64) + _LOW
        self._windows = bits.windows(coded)
        self.position = 0
        """Bits read so far."""

    def read(self, table: np.ndarray, rows: list[int]) -> np.ndarray:
        """The next symbols, given the table of each and the sizes of their rows.

        Raises:
            IndexError: There are far fewer bits than symbols.
        """
        slots, windows = self._tables.slots, self._windows
        base = table << PRECISION
        found = np.empty(len(table), np.int64)
        low, position = 0, np.array(self.position)
        for size in rows:
            x, high = self._x[:size], low + size
            entry = slots[(x & _SLOT) + base[low:high]]
            found[low:high] = entry
            x >>= _PRECISION
            x *= entry >> _SIXTEEN
            x += (entry >> _FOUR) & _SLOT
            width = _WIDTH[x]
            end = width.cumsum()
            end += position
            position = end[-1]
            end -= width
            x <<= width
            x |= (windows[end >> _THREE] >> (end & _SEVEN)) & _MASK[width]
            low = high
        self.position = int(position)
        found &= ALPHABET - 1
        return found

    def raw(self) -> np.ndarray:
        """The bits that the lanes started from, once all symbols are read."""
        return bits.from_integers(self._x - _LOW, STATE)


def rows(symbols: int, lanes: int) -> list[int]:
    """Sizes of the rows in which some symbols are coded: full ones, and what is left."""
    full, rest = divmod(symbols, lanes)
    return [lanes] * full + [rest] * (rest > 0)


_LOG = np.floor(np.log2(np.maximum(np.arange(2 << STATE), 1))).astype(np.int64)
"""Position of the highest bit."""
for _power in range(STATE + 1):  # exactly, whatever the machine's logarithm
    _LOG[1 << _power : 2 << _power] = _power
_WIDTH = (STATE - _LOG).astype(np.int64)
_MASK = ((1 << np.arange(STATE + 1)) - 1).astype(np.int64)
# Arrays without dimensions: Python's integers are converted anew in each operation.
_SLOT, _PRECISION, _SIXTEEN = np.array(TOTAL - 1), np.array(PRECISION), np.array(16)
_THREE, _FOUR, _SEVEN = np.array(3), np.array(4), np.array(7)
