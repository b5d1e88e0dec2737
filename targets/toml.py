"""Writes a target as TOML text that `edgecut.targets.spec` reads back to the same target."""

from __future__ import annotations

import json
from typing import Any

from edgecut.ir import typed
from edgecut.targets.spec import Device, Network

# Tables deeper than this are written in one line: ``conv = { compute = 0.8, memory = 0.5 }``.
INLINE_BELOW = 3


def dumps(target: Device | Network, comment: str = "") -> str:
    """The text of a target's file; what equals its default is left out.

    Args:
        target: The target.
        comment: Where its figures come from; stands at the top.
    """
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + "\n".join(_table(typed.encode(target), ())) + "\n"


def _table(data: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = {k: v for k, v in data.items() if not _is_section(v, path)}
    lines = [f"[{'.'.join(map(_key, path))}]"] if path and plain else []
    lines += [f"{_key(k)} = {_value(v)}" for k, v in plain.items() if v is not None]
    for name, value in data.items():
        if name not in plain:
            lines += ["", *_table(value, (*path, name))]
    return lines


def _is_section(value: Any, path: tuple[str, ...]) -> bool:
    """Whether a value gets a ``[header]``: tables that hold tables, and those near the top."""
    if not isinstance(value, dict) or len(path) + 1 > INLINE_BELOW:
        return False
    return not path or any(isinstance(v, dict) for v in value.values())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else json.dumps(key)
