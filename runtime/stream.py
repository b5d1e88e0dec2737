"""A coded tensor as bytes: a header, then chunks, the most important first.

| field | type | meaning |
|---|---|---|
| magic | 2 bytes | ``EC`` |
| version | u8 | 1 |
| coder | u8 | 1 ``rans``, 2 ``zlib``, 3 ``lzma`` |
| tables | 4 bytes | first bytes of the SHA-256 of the tables (of type and shape, without tables) |
| chunk | u32 CRC-32, u24 length, body | as many as were sent |

All numbers are little-endian; the CRC is of the length and the body. A stream may be cut off anywhere:
chunks that arrived whole are decoded; the integers of the others are taken for 0, which stands for the mean
(or for the lowest integer, where the tables are not signed).
Nothing is allocated by what a stream says, only by what the tables say.
"""

from __future__ import annotations

import hashlib
import lzma
import struct
import zlib
from dataclasses import dataclass
from typing import Optional

import numpy as np

from edgecut.runtime import symbols
from edgecut.runtime.symbols import StreamError
from edgecut.runtime.tables import Tables

MAGIC = b"EC"
VERSION = 1
HEADER_BYTES = 8
CODERS = {"rans": 1, "zlib": 2, "lzma": 3}
CHUNK_HEAD = 7
_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 0, "pb": 0, "dict_size": 1 << 20}]


@dataclass(frozen=True)
class Decoded:
    """A tensor, and how much of its stream was there."""

    values: np.ndarray
    chunks: int
    """Chunks that arrived whole ..."""
    of: int
    """... of so many."""


class Stream:
    """Codes tensors of one type and shape.

    Args:
        coder: ``rans``, ``zlib`` or ``lzma``.
        dtype: Of the tensor; ``rans`` takes int8 and int16.
        shape: Of the tensor.
        tables: For ``rans``.

    Raises:
        ValueError: The tables do not fit the tensor.
    """

    def __init__(
        self, coder: str, dtype: str, shape: tuple[int, ...], tables: Optional[Tables] = None
    ) -> None:
        self._coder = CODERS[coder]
        self._dtype, self._shape = np.dtype(dtype), tuple(shape)
        self._size = int(np.prod(shape, dtype=np.int64))
        if (tables is not None) != (coder == "rans"):
            raise ValueError(f"coder {coder} and tables do not go together")
        if tables is not None and (tables.size != self._size or self._dtype.name not in ("int8", "int16")):
            raise ValueError("coding tables are of another tensor")
        self._tables = tables
        self._filling = np.int64(0 if tables is None or tables.signed else tables.low)
        self._hash = tables.hash if tables else _hash(self._dtype, self._shape)

    def encode(self, values: np.ndarray) -> bytes:
        """The whole stream of a tensor of the type and shape."""
        return self.header() + b"".join(self.chunks(values))

    def header(self) -> bytes:
        """What a stream begins with."""
        return MAGIC + bytes([VERSION, self._coder]) + self._hash

    def chunks(self, values: np.ndarray) -> list[bytes]:
        """What follows on the header, in order of importance; any number from the start may be sent."""
        if self._tables is None:
            return [_framed(_compress(self._coder, _planes(values)))]
        wide = self._with_filling(values.reshape(-1).astype(np.int64))
        tables = self._tables
        return [_framed(symbols.encode(tables, chunk, wide)) for chunk in tables.chunks]

    def decode(self, data: bytes) -> Decoded:
        """The best estimate of a tensor from a stream, or from the part of one that arrived.

        Raises:
            StreamError: It is no stream of this tensor, or one of its chunks is damaged.
        """
        if len(data) < HEADER_BYTES or data[:2] != MAGIC:
            raise StreamError("is no coded tensor")
        if data[2] != VERSION:
            raise StreamError(f"is coded in version {data[2]}, not {VERSION}")
        if data[3] != self._coder or data[4:HEADER_BYTES] != self._hash:
            raise StreamError("was coded with other tables")
        chunks = self._tables.chunks if self._tables else ()
        # A tensor's worth and a half: what zlib and lzma make of noise is longer than the noise.
        limits = [symbols.longest(c) for c in chunks] or [3 * self._size * self._dtype.itemsize // 2 + 1024]
        bodies = _bodies(data, limits)
        if self._tables is None:
            return self._inflate(bodies)
        wide = self._with_filling(np.full(self._size, self._filling, np.int64))
        for chunk, body in zip(chunks, bodies):
            symbols.decode(self._tables, chunk, body, wide)
        values = wide[:-1].astype(self._dtype).reshape(self._shape)
        return Decoded(values, len(bodies), len(chunks))

    def _with_filling(self, values: np.ndarray) -> np.ndarray:
        return np.append(values, self._filling)

    def _inflate(self, bodies: list[bytes]) -> Decoded:
        values = np.zeros(self._shape, self._dtype)
        if bodies:
            raw = _decompress(self._coder, bodies[0], values.nbytes)
            flat = np.frombuffer(raw, np.uint8).reshape(self._dtype.itemsize, -1).T
            values = np.ascontiguousarray(flat).view(self._dtype.newbyteorder("<")).reshape(self._shape)
            values = values.astype(self._dtype)
        return Decoded(values, len(bodies), 1)


def _hash(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    return hashlib.sha256(f"{dtype.name}{list(shape)}".encode()).digest()[:4]


def _framed(body: bytes) -> bytes:
    length = struct.pack("<I", len(body))[:3]
    return struct.pack("<I", zlib.crc32(body, zlib.crc32(length))) + length + body


def _bodies(data: bytes, limits: list[int]) -> list[bytes]:
    """Bodies of the chunks that are whole; there are no more than limits, and none is longer than its own."""
    found: list[bytes] = []
    at = HEADER_BYTES
    while len(data) - at >= CHUNK_HEAD:
        if len(found) == len(limits):
            raise StreamError("goes on behind its end")
        crc, length = struct.unpack("<I", data[at : at + 4])[0], data[at + 4 : at + 7]
        size = int.from_bytes(length, "little")
        body = data[at + 7 : at + 7 + size]
        at += 7 + size
        if at > len(data):
            break
        if size > limits[len(found)]:
            raise StreamError("is damaged: a chunk is longer than it can be")
        if zlib.crc32(body, zlib.crc32(length)) != crc:
            raise StreamError("is damaged: a chunk's CRC differs")
        found.append(body)
    return found


def _planes(values: np.ndarray) -> bytes:
    """Bytes of an array: first the lowest ones of all elements, then the next."""
    raw = values.astype(values.dtype.newbyteorder("<"), copy=False).reshape(-1)
    return raw.view(np.uint8).reshape(-1, values.dtype.itemsize).T.tobytes()


def _compress(coder: int, raw: bytes) -> bytes:
    if coder == CODERS["zlib"]:
        return zlib.compress(raw, 6)
    return lzma.compress(raw, format=lzma.FORMAT_RAW, filters=_LZMA)


def _decompress(coder: int, body: bytes, size: int) -> bytes:
    """Exactly ``size`` bytes; never more are made."""
    try:
        if coder == CODERS["zlib"]:
            raw = zlib.decompressobj().decompress(body, size + 1)
        else:
            raw = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA).decompress(body, size + 1)
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise StreamError("is damaged: it does not decompress") from error
    if len(raw) != size:
        raise StreamError("holds a tensor of another size")
    return raw


__all__ = ["CHUNK_HEAD", "HEADER_BYTES", "Decoded", "Stream", "StreamError"]
