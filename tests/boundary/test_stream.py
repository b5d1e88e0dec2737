"""Streams: lossless, readable from any prefix, and harmless whatever bytes come."""

import json
import runpy
import struct
import tracemalloc
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecut.passes.boundary import tables as fitting
from edgecut.runtime.stream import HEADER_BYTES, Stream, StreamError
from edgecut.runtime.tables import Tables

GOLDEN = runpy.run_path(str(Path(__file__).with_name("golden.py")))
SHAPE = (1, 16, 8, 9)
SIZE = 16 * 8 * 9


def coefficients(count: int, seed: int = 0, spread: float = 1.3) -> np.ndarray:
    """Integers as a transform gives them: of every size, many of them zero."""
    sizes = np.exp(np.random.default_rng(7).normal(-0.3, spread, SIZE))
    drawn = np.random.default_rng(seed).laplace(size=(count, SIZE))
    return np.asarray(np.round(drawn * sizes), np.int32)


@lru_cache
def stream(signed: bool = True) -> Stream:
    samples = coefficients(40)
    samples = samples if signed else np.abs(samples) - 128
    return Stream("rans", "int16", SHAPE, Tables.parse(fitting.fit(samples).text()))


@lru_cache
def sample() -> np.ndarray:
    return np.asarray(coefficients(1, 99)[0], np.int16).reshape(SHAPE)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 12), st.booleans())
def test_any_tensor_comes_back(seed: int, scale: float, signed: bool) -> None:
    """Also those far from what the tables were fitted to: they only take more bytes."""
    rng = np.random.default_rng(seed)
    values = np.clip(rng.laplace(size=SHAPE) * np.exp(scale) - 1, -32768, 32767).astype(np.int16)
    coder = stream(signed)
    assert np.array_equal(coder.decode(coder.encode(values)).values, values)


@pytest.mark.parametrize("coder", ["zlib", "lzma"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float16", "float32"])
def test_simple_coders_are_lossless(coder: str, dtype: str) -> None:
    values = np.random.default_rng(0).normal(0, 20, SHAPE).astype(dtype)
    found = Stream(coder, dtype, SHAPE)
    back = found.decode(found.encode(values)).values
    assert back.dtype == values.dtype
    assert back.tobytes() == values.tobytes()


def test_length_is_within_three_percent_of_the_tables_entropy() -> None:
    samples = np.concatenate([coefficients(40, s, 1.0) for s in range(11)], axis=1)[:, :12544]
    found = Tables.parse(fitting.fit(samples[:32]).text())
    coder = Stream("rans", "int16", (12544,), found)
    for values in samples[32:]:
        data = coder.encode(values.astype(np.int16))
        assert len(data) < 1.03 * information(found, values) / 8


def information(found: Tables, values: np.ndarray) -> float:
    """Bits of a tensor under its tables, raw ones included, computed one symbol at a time."""
    total, padded = 0.0, np.append(np.abs(values.astype(np.int64)), 0)
    for chunk in found.chunks:
        dense, groups = padded[chunk.dense], padded[chunk.groups]
        upper = dense >> chunk.shifts
        some = groups > 0
        patterns = some.reshape(-1, 4) @ [1, 2, 4, 8]
        symbols = np.concatenate([np.minimum(upper, 15), patterns, np.minimum(groups[some] - 1, 15)])
        total += found.rans.bits(symbols, np.concatenate([chunk.first, chunk.rest[some]]))
        total += chunk.shifts.sum() + np.count_nonzero(dense) + np.count_nonzero(some)
    return total


def test_every_prefix_decodes_and_longer_ones_are_closer() -> None:
    coder, data = stream(), stream().encode(sample())
    errors: dict[int, float] = {}
    for length in range(HEADER_BYTES, len(data) + 1):
        found = coder.decode(data[:length])
        errors[found.chunks] = float(np.square(found.values.astype(float) - sample()).sum())
    assert list(errors) == list(range(found.of + 1))
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
    assert errors[found.of] == 0


def test_first_chunk_holds_most_of_the_energy() -> None:
    coder = Stream(
        "rans", "int16", (SIZE * 12,), Tables.parse(fitting.fit(np.tile(coefficients(40), 12)).text())
    )
    values = np.tile(sample().ravel(), 12)
    parts = coder.chunks(values)
    assert len(parts) > 1
    found = coder.decode(coder.header() + parts[0]).values.astype(float)
    assert np.square(found - values).sum() < 0.2 * np.square(values.astype(float)).sum()


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_is_found_or_costs_only_what_follows(at: int, change: int) -> None:
    coder, data = stream(), bytearray(stream().encode(sample()))
    data[at % len(data)] ^= change
    try:
        found = coder.decode(bytes(data))
    except StreamError:
        return
    # A length that points behind the end is a stream that was cut off.
    assert found.chunks < found.of


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(StreamError):
        stream().decode(data)


def test_streams_of_other_tables_and_versions_are_refused() -> None:
    data = stream().encode(sample())
    with pytest.raises(StreamError, match="other tables"):
        stream(False).decode(data)
    with pytest.raises(StreamError, match="version 2"):
        stream().decode(data[:2] + b"\2" + data[3:])
    with pytest.raises(StreamError, match="behind its end"):
        stream().decode(data + data[HEADER_BYTES:])


def framed(body: bytes) -> bytes:
    length = struct.pack("<I", len(body))[:3]
    return struct.pack("<I", zlib.crc32(length + body)) + length + body


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.integers(0, 5))
def test_hostile_chunks_with_a_valid_crc_do_no_harm(body: bytes, grown: int) -> None:
    """Whoever makes a valid CRC gets some tensor or a refusal, in bounded time and memory."""
    coder = stream()
    tracemalloc.start()
    try:
        found = coder.decode(coder.header() + framed(body + bytes(100 * grown)))
        assert found.values.shape == SHAPE
    except StreamError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("hostile", ["many empty chunks", "one long chunk"])
def test_long_streams_are_refused_before_they_cost_anything(hostile: str) -> None:
    """8 MB each with valid CRCs: no more chunks are read than the tables have, and none that is too long."""
    coder = stream()
    data = framed(b"") * 1_200_000 if hostile == "many empty chunks" else framed(bytes(8_000_000))
    data = coder.header() + data
    tracemalloc.start()
    with pytest.raises(StreamError, match=r"too short|behind its end|longer than it can be"):
        coder.decode(data)
    assert tracemalloc.get_traced_memory()[1] < 9_000_000  # the body itself, once, and nothing per byte of it
    tracemalloc.stop()


@lru_cache
def coder_of(kind: str) -> Stream:
    return stream() if kind == "rans" else Stream(kind, "int16", SHAPE)


@settings(deadline=None)
@given(st.sampled_from(["rans", "zlib", "lzma"]), st.integers(0, 2**20), st.booleans())
def test_cut_off_anywhere_it_is_a_prefix_or_refused(kind: str, at: int, grown: bool) -> None:
    coder = coder_of(kind)
    data = coder.encode(sample())
    data = data + bytes(at % 40) if grown else data[: at % len(data)]
    if len(data) < HEADER_BYTES:
        with pytest.raises(StreamError):
            coder.decode(data)
        return
    try:
        found = coder.decode(data)
    except StreamError:
        assert grown
        return
    assert found.values.shape == SHAPE
    assert (found.chunks == found.of) == (len(data) >= len(coder.encode(sample())))


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["rans", "zlib", "lzma"]),
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 7)), min_size=1, max_size=6, unique=True),
)
def test_flipped_bits_never_give_another_whole_tensor(kind: str, flips: list[tuple[int, int]]) -> None:
    """A few bits cannot keep a CRC-32 of so few bytes (its distance is 6 or more below 2974 bits), and what
    is wrong behind the end of a shortened stream is not seen at all."""
    coder = coder_of(kind)
    data = bytearray(coder.encode(sample()))
    for at, bit in flips:
        data[at % len(data)] ^= 1 << bit
    try:
        found = coder.decode(bytes(data))
    except StreamError:
        return
    assert found.chunks < found.of or np.array_equal(found.values, sample())


@settings(deadline=None)
@given(st.binary(min_size=4, max_size=4))
def test_streams_with_a_foreign_hash_are_refused(name: bytes) -> None:
    data = stream().encode(sample())
    if name == data[4:HEADER_BYTES]:
        return
    with pytest.raises(StreamError, match="other tables"):
        stream().decode(data[:4] + name + data[HEADER_BYTES:])


@pytest.mark.parametrize("coder", ["zlib", "lzma"])
def test_a_bomb_does_not_go_off(coder: str) -> None:
    found = Stream(coder, "int8", SHAPE)
    bomb = Stream(coder, "int8", (20_000_000,)).encode(np.zeros(20_000_000, np.int8))
    tracemalloc.start()
    with pytest.raises(StreamError):
        found.decode(found.header() + bomb[HEADER_BYTES:])
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255), st.integers(0, 3))
def test_damaged_tables_are_refused_or_harmless(at: int, change: int, kind: int) -> None:
    data = bytearray(fitting.fit(coefficients(8)).pack())
    if kind:
        data[at % min(len(data), 700)] ^= change
    else:
        del data[at % len(data) :]
    try:
        found = Tables(bytes(data))
    except ValueError:
        return
    if found.size == SIZE:
        coder = Stream("rans", "int16", SHAPE, found)
        values = np.zeros(SHAPE, np.int16)
        assert coder.decode(coder.header()).values.shape == values.shape


@pytest.mark.parametrize(
    "entry", json.loads(GOLDEN["FILE"].read_text()), ids=lambda entry: str(entry["name"])
)
def test_the_same_bytes_on_every_machine(entry: dict[str, Any]) -> None:
    """Streams and tables as they were made on x86-64; tests/aarch64 and tests/python39 run this too."""
    assert GOLDEN["check"](entry) == []


def test_tables_depend_on_the_samples_alone() -> None:
    first, second = (fitting.fit(coefficients(12)).pack() for _ in range(2))
    assert first == second
