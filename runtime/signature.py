"""Signed manifests: a device that knows a public key runs what its owner has signed, and nothing else.

A manifest holds the hash of every file of its build, so that its signature covers them all. It stands beside
the manifest as ``manifest.json.sig``: one line, ``ed25519 PUBLIC-KEY SIGNATURE``, both in base64. A file of
public keys has one ``ed25519 PUBLIC-KEY`` a line.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Optional

from edgecut.ir import manifest
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.manifest import Manifest
from edgecut.runtime import ed25519

SUFFIX = ".sig"
KIND = "ed25519"
CONTEXT = b"edgecut manifest 1\n"
"""Signed before the manifest's bytes: a signature made for something else is none here."""


def read_manifest(path: Path, keys: Optional[Path]) -> Manifest:
    """Read a manifest, or the one in a build folder, if it is signed as it must be.

    Args:
        path: The file or folder.
        keys: File of public keys, by one of which it must be signed; None takes it unsigned.

    Raises:
        ModelError: It is absent or invalid, or no key's owner has signed it.
        UsageError: The file of keys cannot be read or holds none.
    """
    if keys is None:
        return manifest.read(path, verify=False)
    allowed = read_keys(keys)
    path = path / manifest.FILE_NAME if path.is_dir() else path
    data = manifest.read_bytes(path)
    _verify(data, path, allowed)
    return manifest.parse(data, path)


def read_keys(path: Path) -> list[bytes]:
    """Public keys of a file; blank lines and those that begin with # are skipped.

    Raises:
        UsageError: It cannot be read, or a line is no key.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("cannot be read", where=str(path)) from error
    fields = [line for line in lines if line and not line[0].startswith("#")]
    keys = [_bytes(line[1], 32) if len(line) > 1 and line[0] == KIND else None for line in fields]
    found = [key for key in keys if key is not None]
    if not found or len(found) < len(keys):
        hint = "lines of: ed25519 PUBLIC-KEY, as `edgecut sign --new-key` writes them"
        raise UsageError("is no file of public keys", where=str(path), hint=hint)
    return found


def _verify(data: bytes, path: Path, allowed: list[bytes]) -> None:
    beside = path.with_name(path.name + SUFFIX)
    hint = "edgecut sign BUILD --key KEY, and deliver the .sig file too"
    try:
        fields = beside.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError("is not signed, which is required here", where=str(path), hint=hint) from error
    key = _bytes(fields[1], 32) if len(fields) == 3 and fields[0] == KIND else None
    made = _bytes(fields[2], 64) if key else None
    if key is None or made is None:
        raise ModelError("is no signature", where=str(beside), hint=hint)
    if key not in allowed:
        raise ModelError("is signed with a key that is not allowed here", where=str(path))
    if not ed25519.verify(key, CONTEXT + data, made):
        raise ModelError("differs from what was signed", where=str(path), hint="build and sign again")


def _bytes(text: str, length: int) -> Optional[bytes]:
    try:
        found = base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == length else None
