"""Files written whole or not at all, and their hashes. Standard library only: the device uses it too."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgecut.ir.errors import TargetError


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write(path: Path, data: bytes) -> None:
    """Write a file beside its place, then rename it there: readers see the old or the new one.

    Raises:
        TargetError: The disk is full, or the place cannot be written.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn an ``OSError`` about a place into a one-line `TargetError`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise TargetError(f"cannot write: {reason[0].lower()}{reason[1:]}", where=str(where)) from error


@contextlib.contextmanager
def staged_directory(final: Path, marker: str) -> Iterator[Path]:
    """Give a new directory beside ``final``; it takes the name ``final`` when the block succeeds.

    Args:
        final: Where the directory is to stand. What stands there is replaced only if it is empty or
            holds a file called ``marker`` (so that no folder of the user's is ever thrown away).
        marker: A file that every finished directory of this kind holds.

    Raises:
        TargetError: ``final`` holds something else, or the disk fails.
    """
    occupied = final.exists() and not final.is_symlink()
    if occupied and not (final.is_dir() and ((final / marker).is_file() or not any(final.iterdir()))):
        raise TargetError("exists and is no build directory", where=str(final), hint="choose another -o")
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(final)
        stage = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.{os.getpid()}-"))
    try:
        yield stage
        with disk_errors(final):
            _swap(stage, final)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _swap(stage: Path, final: Path) -> None:
    stage.chmod(0o755)
    if not final.exists():
        stage.rename(final)
        return
    old = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.{os.getpid()}-"))
    final.rename(old)
    stage.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _remove_abandoned(final: Path) -> None:
    """Remove what a killed process left beside ``final``."""
    for path in final.parent.glob(f".{final.name}.*-*"):
        owner = path.name[len(final.name) + 2 :].split("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc").exists():
            shutil.rmtree(path, ignore_errors=True)
