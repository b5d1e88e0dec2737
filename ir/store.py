"""A content-addressed store of programs on this machine: imported references, and results of passes.

It stands in ``$EDGECUT_CACHE`` or ``~/.cache/edgecut``, and may be deleted at any time.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgecut.ir import files
from edgecut.ir.errors import EdgecutError, ModelError, TargetError
from edgecut.ir.program import Program


def root() -> Path:
    """The folder of the store."""
    configured = os.environ.get("EDGECUT_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "edgecut"


def put(program: Program, key: str | None = None) -> str:
    """Keep a program under ``key`` (its own fingerprint if None), and return the key.

    Raises:
        TargetError: The disk is full or the folder cannot be written.
    """
    key = key or program.fingerprint()
    path = _path(key)
    if not path.exists():
        with files.disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        program.save(path)
    return key


def get(key: str) -> Program | None:
    """The program kept under ``key``, or None; an entry that does not load counts as absent."""
    path = _path(key)
    if not path.is_file():
        return None
    try:
        return Program.load(path)
    except EdgecutError:
        return None


def has(key: str) -> bool:
    """Whether the store holds a program under ``key``."""
    return _path(key).is_file()


def reference(key: str) -> Program:
    """The imported program that a `Reference` annotation names.

    Raises:
        ModelError: The store no longer holds it.
    """
    found = get(key)
    if found is None:
        raise ModelError(
            f"the imported model {key[:12]} is not in {root()}", hint="import the original model again"
        )
    return found


def put_quietly(program: Program, key: str) -> None:
    """Like `put`, for results that can be made again: a full disk is no error."""
    try:
        put(program, key)
    except TargetError:
        return


def _path(key: str) -> Path:
    return root() / "programs" / key[:2] / f"{key}.onnx"
