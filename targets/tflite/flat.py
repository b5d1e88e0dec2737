"""Writes many small tables of a flatbuffer quickly.

The generated classes take 40 us for a table, nearly all of it in Python calls, and a network has thousands.
What comes thousands of times is always of the same few layouts: each is packed with one `struct` here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

Builder = Any
"""``flatbuffers.Builder``, which writes from the end; a place is its offset, counted from there."""


def append(builder: Builder, data: bytes) -> int:
    """Write bytes, which begin at a multiple of four, before what is written already; gives their place."""
    size = len(data)
    place = _place(builder, size)
    if builder.head < size + 8:
        builder.Prep(4, size)  # makes room
    builder.head = start = len(builder.Bytes) - place
    builder.Bytes[start : start + size] = data  # what is skipped behind it is zero
    return place


def _place(builder: Builder, size: int) -> int:
    """Where so many bytes would begin."""
    end: int = len(builder.Bytes) - builder.head
    return (end + size + 3) & ~3


def integers(builder: Builder, values: Sequence[int]) -> int:
    """A vector of int32."""
    return append(builder, struct.pack(f"<{len(values) + 1}i", len(values), *values))


def floats(builder: Builder, values: bytes) -> int:
    """A vector of float32, given as they are held."""
    return append(builder, struct.pack("<I", len(values) // 4) + values)


def longs(builder: Builder, values: bytes) -> int:
    """A vector of int64, given as they are held: they begin at a multiple of eight, behind their number."""
    builder.minalign = max(builder.minalign, 8)
    behind = -(len(builder.Bytes) - builder.head) % 8
    return append(builder, struct.pack("<I", len(values) // 8) + values + bytes(behind))


def text(builder: Builder, value: str) -> int:
    """A string."""
    data = value.encode()
    return append(builder, struct.pack("<I", len(data)) + data + b"\0")


def places(builder: Builder, targets: Sequence[int]) -> int:
    """A vector of tables."""
    count = len(targets)
    first = _place(builder, 4 * count + 4) - 4
    return append(
        builder, struct.pack(f"<{count + 1}I", count, *(first - 4 * i - t for i, t in enumerate(targets)))
    )


class Layout:
    """Tables whose fields are all present.

    Args:
        offsets: Slots (numbers of fields in the schema) of what stands elsewhere: strings, vectors, tables.
        words: Slots of 32-bit numbers.
        octets: Slots of 8-bit numbers.
    """

    def __init__(self, offsets: Sequence[int], words: Sequence[int], octets: Sequence[int]) -> None:
        wide = len(offsets) + len(words)
        size = -(-(4 + 4 * wide + len(octets)) // 4) * 4
        self._format = struct.Struct(f"<i{wide}I{len(octets)}B{size - 4 - 4 * wide - len(octets)}x")
        at = {slot: 4 + 4 * i for i, slot in enumerate((*offsets, *words))}
        at |= {slot: 4 + 4 * wide + i for i, slot in enumerate(octets)}
        slots = max(at) + 1
        entries = [4 + 2 * slots, size, *(at.get(slot, 0) for slot in range(slots))]
        self._directory = struct.pack(f"<{len(entries)}H", *entries)
        self._place: int | None = None

    def write(
        self, builder: Builder, targets: Sequence[int], words: Sequence[int], octets: Sequence[int]
    ) -> int:
        """Write one table, always with the same builder; gives its place."""
        if self._place is None:
            self._place = append(builder, self._directory)
        place = _place(builder, self._format.size)
        relative = (place - 4 - 4 * i - target for i, target in enumerate(targets))
        return append(builder, self._format.pack(self._place - place, *relative, *words, *octets))
