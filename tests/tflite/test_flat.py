"""What is written in one piece is what flatbuffers' own reader reads."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types
from flatbuffers.table import Table
from hypothesis import given
from hypothesis import strategies as st

from edgecut.targets.tflite import flat

SLOTS = st.lists(st.integers(0, 20), unique=True, min_size=1, max_size=8)


def _field(table: Table, slot: int) -> int:
    place: int = table.Offset(4 + 2 * slot)
    assert place, f"slot {slot} is absent"
    return place


@given(slots=SLOTS, data=st.data(), size=st.sampled_from([0, 64, 1 << 16]))
def test_tables_of_any_layout_are_read_back(slots: list[int], data: Any, size: int) -> None:
    kinds = data.draw(st.lists(st.sampled_from("owb"), min_size=len(slots), max_size=len(slots)))
    by_kind = {k: [s for s, kind in zip(slots, kinds, strict=True) if kind == k] for k in "owb"}
    layout = flat.Layout(by_kind["o"], by_kind["w"], by_kind["b"])
    builder = flatbuffers.Builder(size)  # a small one has to grow in the midst
    written, places = [], []
    for _ in range(data.draw(st.integers(1, 4))):
        texts = [data.draw(st.text(max_size=9)).replace("\0", "") for _ in by_kind["o"]]
        words = [data.draw(st.integers(0, 2**32 - 1)) for _ in by_kind["w"]]
        octets = [data.draw(st.integers(0, 255)) for _ in by_kind["b"]]
        targets = [flat.text(builder, t) for t in texts]
        places.append(layout.write(builder, targets, words, octets))
        written.append((texts, words, octets))
    numbers = data.draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5))
    vector = flat.integers(builder, numbers)
    tables = flat.places(builder, places)
    root = flat.Layout((0, 1), (), ()).write(builder, [tables, vector], (), ())
    builder.Finish(root)
    raw = builder.Output()
    top = Table(raw, flatbuffers.encode.Get(flatbuffers.packer.uoffset, raw, 0))
    at = _field(top, 1)
    assert top.VectorLen(at) == len(numbers)
    start = top.Vector(at)
    assert [top.Get(number_types.Int32Flags, start + 4 * i) for i in range(len(numbers))] == numbers
    at = _field(top, 0)
    assert top.VectorLen(at) == len(written)
    for i, (texts, words, octets) in enumerate(written):
        table = Table(raw, top.Indirect(top.Vector(at) + 4 * i))
        assert table.Pos % 4 == 0
        found = [table.String(table.Pos + _field(table, s)).decode() for s in by_kind["o"]]
        assert found == texts
        assert [
            table.Get(number_types.Uint32Flags, table.Pos + _field(table, s)) for s in by_kind["w"]
        ] == words
        assert [
            table.Get(number_types.Uint8Flags, table.Pos + _field(table, s)) for s in by_kind["b"]
        ] == octets


@given(
    reals=st.lists(st.floats(width=32, allow_nan=False), max_size=7),
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=7),
    before=st.text(max_size=9),
    size=st.sampled_from([0, 1 << 16]),
)
def test_vectors_of_wide_numbers_are_aligned(
    reals: list[float], numbers: list[int], before: str, size: int
) -> None:
    builder = flatbuffers.Builder(size)
    places = [
        flat.text(builder, before.replace("\0", "")),
        flat.longs(builder, np.asarray(numbers, "<i8").tobytes()),
        flat.floats(builder, np.asarray(reals, "<f4").tobytes()),
        flat.longs(builder, np.asarray(numbers[::-1], "<i8").tobytes()),
    ]
    builder.Finish(flat.Layout((0, 1, 2, 3), (), ()).write(builder, places, (), ()))
    raw = builder.Output()
    top = Table(raw, flatbuffers.encode.Get(flatbuffers.packer.uoffset, raw, 0))
    for slot, flags, expected in (
        (1, number_types.Int64Flags, numbers),
        (2, number_types.Float32Flags, reals),
        (3, number_types.Int64Flags, numbers[::-1]),
    ):
        start, width = top.Vector(_field(top, slot)), flags.bytewidth
        assert top.VectorLen(_field(top, slot)) == len(expected)
        assert start % width == 0
        assert [top.Get(flags, start + width * i) for i in range(len(expected))] == expected
