"""Signs the manifest of a build, on the compiler's side (needs the package ``cryptography``)."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from edgecut.ir import files, manifest
from edgecut.ir.errors import UsageError
from edgecut.runtime import signature


def sign(build: Path, key: Path) -> Path:
    """Sign a build's manifest, after every file has been compared with it.

    Args:
        build: The folder.
        key: Private Ed25519 key, PEM (PKCS #8), without a password.

    Returns:
        The signature's file.

    Raises:
        ModelError: The build is not what its manifest says.
        UsageError: The key cannot be used.
    """
    manifest.read(build)
    path = build / manifest.FILE_NAME if build.is_dir() else build
    private = _private(key)
    made = private.sign(signature.CONTEXT + manifest.read_bytes(path))
    line = f"{signature.KIND} {_public(private)} {base64.b64encode(made).decode()}\n"
    beside = path.with_name(path.name + signature.SUFFIX)
    files.write(beside, line.encode())
    return beside


def new_key(path: Path) -> Path:
    """Make a private key that only its owner may read, and its public key beside it (``.pub``).

    Returns:
        The public key's file.

    Raises:
        UsageError: There is a file of that name.
        TargetError: The place cannot be written.
    """
    from cryptography.hazmat.primitives import serialization as form

    private = _library().Ed25519PrivateKey.generate()
    pem = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    if path.exists():
        raise UsageError("is there already", where=str(path), hint="choose another name")
    with files.disk_errors(path), open(path, "xb", opener=_owner_only) as file:
        file.write(pem)
    public = path.with_name(path.name + ".pub")
    files.write(public, f"{signature.KIND} {_public(private)}\n".encode())
    return public


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _private(path: Path) -> Any:
    library = _library()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        hint = "edgecut sign --new-key FILE, or: openssl genpkey -algorithm ed25519"
        raise UsageError(f"is no readable private key: {error}", where=str(path), hint=hint) from error
    if not isinstance(found, library.Ed25519PrivateKey):
        raise UsageError("is no Ed25519 key", where=str(path), hint="openssl genpkey -algorithm ed25519")
    return found


def _public(private: Any) -> str:
    return base64.b64encode(private.public_key().public_bytes_raw()).decode()


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UsageError(
            "signing needs the package cryptography", hint="pip install 'edgecut[sign]'"
        ) from error
    return ed25519
