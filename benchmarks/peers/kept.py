"""Keeps what was found in a file, for a table that is made in pieces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from peers.convert import Converted
from peers.measure import Key, Measured


def merged(
    path: Path, made: Mapping[Key, Converted], measured: Mapping[Key, Measured]
) -> tuple[dict[Key, Converted], dict[Key, Measured]]:
    """What is in the file and what is new, which is written to it."""
    found = json.loads(path.read_text()) if path.exists() else {"made": [], "measured": []}
    all_made = {_key(k): Converted(**v) for k, v in found["made"]} | dict(made)
    all_measured = {_key(k): Measured(**{**v, "moves": tuple(v["moves"])}) for k, v in found["measured"]}
    all_measured |= dict(measured)
    lists = {
        "made": [[list(k), asdict(v)] for k, v in all_made.items()],
        "measured": [[list(k), asdict(v)] for k, v in all_measured.items()],
    }
    path.write_text(json.dumps(lists))
    return all_made, all_measured


def _key(words: list[str]) -> Key:
    kind, network, converter = words
    return kind, network, converter
