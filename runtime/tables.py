"""The static tables of one coded tensor: how its integers are ordered, modelled and divided into chunks.

They are made by the compiler from calibration data and stand in the manifest as text, so that device and
server hold the same ones. Everything in them is an integer. Their bytes, little-endian, are

| field | type | meaning |
|---|---|---|
| version | u8 | 1 |
| signed | u8 | 1: a symbol is a magnitude, and signs are raw bits; 0: it is the distance from ``low`` |
| low | i16 | see there |
| size | u32 | integers of the tensor |
| dense, sparse | u8 u8 | numbers of classes of either kind |
| shifts | u8 [dense] | low bits of the symbols of each dense class that are raw |
| frequencies | u16 [dense + 2 sparse][16] | of 4096: of symbols; of patterns; of what follows on patterns |
| chunks | u8, then (u32 u16) each | for each chunk where it ends in the order below, and its lanes |
| classes | u8 [size] | class of each integer, in the order of the tensor |

The order in which integers are sent is by class, the most important (class 0) first, and within a class
as they stand in the tensor. In sparse classes four successive integers are coded as the pattern of those
that are not zero; each such class is filled up with zeros to a multiple of four.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from edgecut.runtime import rans

MAX_SIZE = 1 << 24
MAX_LANES = 4096
GROUP = 4
"""Integers of a pattern."""
_HEAD = struct.Struct("<BBhIBB")
_CHUNK = struct.Struct("<IH")
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Description:
    """The tables as the compiler makes them; see the module for the fields."""

    signed: bool
    low: int
    shifts: np.ndarray
    sparse: int
    frequencies: np.ndarray
    chunks: tuple[tuple[int, int], ...]
    classes: np.ndarray

    def pack(self) -> bytes:
        """The bytes of the tables."""
        dense = len(self.shifts)
        head = _HEAD.pack(_VERSION, self.signed, self.low, len(self.classes), dense, self.sparse)
        chunks = b"".join(_CHUNK.pack(end, lanes) for end, lanes in self.chunks)
        parts = (self.shifts.astype("u1"), self.frequencies.astype("<u2"), self.classes.astype("u1"))
        shifts, frequencies, classes = (part.tobytes() for part in parts)
        return head + shifts + frequencies + bytes([len(self.chunks)]) + chunks + classes

    def text(self) -> str:
        """The bytes as text for the manifest."""
        return base64.b64encode(zlib.compress(self.pack(), 9)).decode("ascii")


@dataclass(frozen=True, eq=False)
class Chunk:
    """What coding one chunk needs, worked out once."""

    dense: np.ndarray
    """Places in the tensor of the integers that are symbols."""
    groups: np.ndarray
    """Places of those that are coded as patterns, a multiple of four; `Tables.size` is a filling."""
    first: np.ndarray
    """The table of each symbol, then of each pattern."""
    rest: np.ndarray
    """For each of ``groups``, the table of what follows on its pattern."""
    shifts: np.ndarray
    """Raw low bits of each of ``dense``."""
    planes: tuple[np.ndarray, ...]
    """For each raw low bit, those of ``dense`` that have it."""
    rows: list[int]
    """Rows of ``first``."""
    lanes: int


class Tables:
    """Tables, ready for coding.

    Attributes:
        size: Integers of the tensor.
        sha256: Of the tables.
        hash: First bytes of it, by which a stream names the tables.

    Raises:
        ValueError: The bytes are no tables.
    """

    def __init__(self, data: bytes) -> None:
        try:
            found = _unpack(data)
        except (struct.error, IndexError) as error:
            raise ValueError("coding tables are cut short") from error
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.hash = bytes.fromhex(self.sha256)[:4]
        self.signed, self.low, self.size = found.signed, found.low, len(found.classes)
        self.rans = rans.Tables(found.frequencies)
        self.chunks = _chunks(found)

    @classmethod
    def parse(cls, text: str) -> Tables:
        """Tables as the manifest holds them.

        Raises:
            ValueError: The text holds no tables.
        """
        try:
            raw = base64.b64decode(text, validate=True)
            inflate = zlib.decompressobj()
            data = inflate.decompress(raw, MAX_SIZE + (1 << 20))
        except (binascii.Error, zlib.error) as error:
            raise ValueError(f"coding tables do not decode: {error}") from error
        return cls(data)


def _unpack(data: bytes) -> Description:
    version, signed, low, size, dense, sparse = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise ValueError(f"coding tables are of version {version}, not {_VERSION}")
    at = _HEAD.size
    shifts = np.frombuffer(data[at : at + dense], np.uint8)
    at += dense
    count = (dense + 2 * sparse) * rans.ALPHABET
    if not count or len(data) < at + 2 * count:
        raise ValueError("coding tables hold no classes")
    frequencies = np.frombuffer(data, "<u2", count, at).reshape(-1, rans.ALPHABET)
    at += 2 * count
    chunks = tuple(_CHUNK.unpack_from(data, at + 1 + i * _CHUNK.size) for i in range(data[at]))
    classes = np.frombuffer(data, np.uint8, offset=at + 1 + len(chunks) * _CHUNK.size)
    ok = len(classes) == size and len(shifts) == dense and (shifts <= rans.STATE).all()
    if not ok or not 0 < size <= MAX_SIZE or (classes >= dense + sparse).any():
        raise ValueError("coding tables contradict themselves")
    return Description(bool(signed), low, shifts, sparse, frequencies, chunks, classes)


def _chunks(found: Description) -> tuple[Chunk, ...]:
    size, dense = len(found.classes), len(found.shifts)
    order, split = arrange(found.classes, dense, found.sparse)
    kinds = np.append(found.classes, 0)[order].astype(np.int64)
    # A filling is of the class before it.
    kinds[order == size] = -1
    kinds = np.maximum.accumulate(kinds) if len(kinds) else kinds
    made, begin = [], 0
    for end, lanes in found.chunks:
        aligned = end <= split or (end - split) % GROUP == 0
        if not begin < end <= len(order) or not aligned or not 0 < lanes <= MAX_LANES:
            raise ValueError("coding tables divide the tensor into no chunks")
        made.append(_chunk(found, order, kinds, (begin, min(max(begin, split), end), end), lanes))
        begin = end
    if begin != len(order):
        raise ValueError("coding tables leave out a part of the tensor")
    return tuple(made)


def arrange(classes: np.ndarray, dense: int, sparse: int) -> tuple[np.ndarray, int]:
    """The order in which the integers of a tensor are sent, and where the sparse ones begin.

    A filling stands as the number of integers.
    """
    order = np.argsort(classes, kind="stable")
    counts = np.bincount(classes, minlength=dense + sparse)
    split = int(counts[:dense].sum())
    parts, at = [order[:split]], split
    for count in counts[dense:]:
        parts += [order[at : at + count], np.full(-count % GROUP, len(classes))]
        at += int(count)
    return np.concatenate(parts).astype(np.int64), split


def _chunk(
    found: Description, order: np.ndarray, kinds: np.ndarray, place: tuple[int, int, int], lanes: int
) -> Chunk:
    begin, split, end = place
    dense, groups = order[begin:split], order[split:end]
    shifts = found.shifts[kinds[begin:split]].astype(np.int64)
    planes = tuple(np.flatnonzero(shifts > j) for j in range(int(shifts.max(initial=0))))
    first = np.concatenate([kinds[begin:split], kinds[split:end:GROUP]]).astype(np.int64)
    rest = (kinds[split:end] + found.sparse).astype(np.int64)
    return Chunk(dense, groups, first, rest, shifts, planes, rans.rows(len(first), lanes), lanes)
