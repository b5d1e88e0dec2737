"""Streams as they were made on x86-64, which every machine has to read and make bit for bit.

    golden.py [RUNTIME.pyz]      checks golden_streams.json beside it with NumPy alone, from Python 3.9 on

Each entry has tables, a stream, and the SHA-256 of what the stream and its first half decode to.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().with_name("golden_streams.json")


def check(entry: dict[str, Any]) -> list[str]:
    """What differs."""
    from edgecut.runtime.stream import Stream
    from edgecut.runtime.tables import Tables

    data = base64.b64decode(entry["stream"])
    tables = Tables.parse(entry["tables"]) if entry["tables"] else None
    coder = Stream(entry["coder"], entry["dtype"], tuple(entry["shape"]), tables)
    values = coder.decode(data).values
    half = coder.decode(data[: len(data) // 2])
    found = {
        "values": digest(values),
        "half": digest(half.values),
        "chunks": half.chunks,
        # What zlib and lzma make differs from version to version; what they read does not.
        "again": coder.encode(values) == data if tables else True,
        "sha256": tables.sha256 if tables else "",
    }
    return [key for key, value in found.items() if value != entry[key]]


def digest(values: Any) -> str:
    """SHA-256 of an array's little-endian bytes."""
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()


def main() -> None:
    sys.path[:0] = sys.argv[1:]
    entries = json.loads(FILE.read_text())
    wrong = {entry["name"]: check(entry) for entry in entries}
    wrong = {name: found for name, found in wrong.items() if found}
    if wrong:
        sys.exit(f"golden streams differ: {wrong}")
    print(f"golden streams: all {len(entries)} are read and made bit for bit")


if __name__ == "__main__":
    main()
