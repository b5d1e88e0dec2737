"""The entropy coder alone: exact, and as short as its tables allow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecut.runtime import bits, rans


def tables(seed: int, count: int) -> rans.Tables:
    """Tables from nearly uniform to nearly certain; some symbols are impossible."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(count):
        weight = rng.dirichlet(np.full(rans.ALPHABET, 0.02 * 4.0**k % 5))
        row = np.floor(weight * rans.TOTAL).astype(int)
        row[row.argmax()] += rans.TOTAL - row.sum()
        rows.append(row)
    return rans.Tables(np.array(rows))


def drawn(found: rans.Tables, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Symbols as the tables expect them, and the table of each."""
    rng = np.random.default_rng(seed)
    table = rng.integers(0, len(found.frequencies) // rans.ALPHABET, count)
    slot = rng.integers(0, rans.TOTAL, count)
    return found.slots[table * rans.TOTAL + slot] & (rans.ALPHABET - 1), table


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 300), st.integers(1, 90), st.integers(1, 6))
def test_what_is_coded_comes_back_with_the_raw_bits(seed: int, count: int, lanes: int, kinds: int) -> None:
    found = tables(seed, kinds)
    symbols, table = drawn(found, seed, count)
    raw = np.random.default_rng(seed).integers(0, 2, lanes * rans.STATE).astype(np.uint8)
    rows = rans.rows(count, lanes)
    states, coded = rans.encode(found, symbols, table, raw, rows)
    decoder = rans.Decoder(found, states, coded)
    assert np.array_equal(decoder.read(table, rows), symbols)
    assert np.array_equal(decoder.raw(), raw)
    assert (decoder.position + 7) // 8 == len(coded)


@pytest.mark.parametrize("seed", range(3))
def test_length_is_within_one_percent_of_the_entropy(seed: int) -> None:
    found = tables(seed, 6)
    symbols, table = drawn(found, seed, 12544)
    raw = np.random.default_rng(seed).integers(0, 2, 256 * rans.STATE).astype(np.uint8)
    _, coded = rans.encode(found, symbols, table, raw, rans.rows(len(symbols), 256))
    ideal = found.bits(symbols, table) / 8
    assert ideal < len(coded) < 1.01 * ideal + 2


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 31)), max_size=60))
def test_packed_integers_stand_side_by_side(pairs: list[tuple[int, int]]) -> None:
    values, widths = (np.array([p[i] for p in pairs], np.int64) for i in (0, 1))
    packed = int.from_bytes(bits.pack(values, widths).tobytes(), "little")
    at = 0
    for value, width in pairs:
        assert packed >> at & ((1 << width) - 1) == value & ((1 << width) - 1)
        at += width
    assert packed >> at == 0


@given(st.lists(st.integers(0, 2**16 - 1), max_size=20), st.integers(1, 16))
def test_bits_of_integers_come_back(values: list[int], width: int) -> None:
    array = np.array(values, np.int64) & ((1 << width) - 1)
    assert np.array_equal(bits.to_integers(bits.from_integers(array, width), width), array)


@pytest.mark.parametrize("row", [[4095] + [0] * 15, [4097] + [0] * 15, [4096] * 16])
def test_frequencies_that_do_not_fit_are_refused(row: list[int]) -> None:
    with pytest.raises(ValueError, match="sum up to 4096"):
        rans.Tables(np.array([row]))
