"""Proof that the files at hand are the ones that the manifest names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from edgecut.ir import files
from edgecut.ir.errors import ModelError
from edgecut.ir.manifest import Manifest

PARAMETER = "edgecut_artifact"
"""Request parameter by which a device says which cloud model it was compiled together with."""


def verify(manifest: Manifest, root: Path, paths: Iterable[str]) -> None:
    """Compare some files of a build with their hashes.

    Raises:
        ModelError: One is not listed, outside of the build, absent, or differs.
    """
    listed = {record.path: record for record in manifest.files}
    for name in paths:
        path = root / name
        if name not in listed or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ModelError("is not among the manifest's files", where=str(path))
        if not path.is_file():
            raise ModelError("is listed in the manifest but absent", where=str(path), hint="build again")
        if path.stat().st_size != listed[name].bytes or files.sha256(path) != listed[name].sha256:
            raise ModelError("differs from its hash in the manifest", where=str(path), hint="build again")


def cloud_files(manifest: Manifest, model: str) -> list[str]:
    """Files of one cloud model, its weights included."""
    return sorted(f.path for f in manifest.files if f.path.startswith(f"cloud/{model}/"))


def cloud_hash(manifest: Manifest, model: str) -> str:
    """One hash over all files of a cloud model: two builds that share it compute the same."""
    listed = {record.path: record.sha256 for record in manifest.files}
    lines = (f"{path} {listed[path]}\n" for path in cloud_files(manifest, model))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def permitted(manifest: Manifest) -> dict[str, frozenset[str]]:
    """What may leave the device: names of the tensors that the manifest lists, by cloud model."""
    found: dict[str, frozenset[str]] = {}
    for cut in manifest.cuts:
        if cut.cloud_model is not None:
            found[cut.cloud_model] = frozenset(sent.name for sent in cut.sends)
    return found
