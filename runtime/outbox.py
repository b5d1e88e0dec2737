"""Requests that could not be answered yet, kept on disk until they are.

One file per request. It is complete and on the disk before `put` returns, so that neither a killed
process nor a power cut loses it; and it is removed only after its answer was delivered.
"""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgecut.ir import files
from edgecut.ir.errors import TargetError, UsageError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_SUFFIX = ".npz"


class OutboxFullError(TargetError):
    """No further request can be kept."""


class Outbox:
    """A folder of waiting requests, oldest first.

    Args:
        folder: Made if it is not there. One process at a time may use it.
        max_requests: Requests that it holds at most.
        max_bytes: Bytes that it holds at most.

    Raises:
        TargetError: The folder cannot be made.
    """

    def __init__(self, folder: Path, *, max_requests: int = 10_000, max_bytes: int = 1 << 30) -> None:
        self._folder = folder
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        with files.disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".*.part"):
                left.unlink()
        found = sorted(folder.glob(f"*{_SUFFIX}"))
        self._paths = {_id(path): path for path in found}
        self._sizes = {_id(path): path.stat().st_size for path in found}
        self._last = max((int(path.name.split("-")[0]) for path in found), default=0)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._paths

    def ids(self) -> list[str]:
        """Ids of the waiting requests, oldest first."""
        return list(self._paths)

    def put(self, request_id: str, inputs: Mapping[str, np.ndarray]) -> None:
        """Keep a request; one that is kept already is not kept twice.

        Raises:
            OutboxFullError: It is full.
            UsageError: The id cannot be part of a file name.
            TargetError: The disk is full or fails.
        """
        if not _ID.fullmatch(request_id):
            raise UsageError("is no request id", where=repr(request_id), hint="letters, digits, - _ .")
        if request_id in self._paths:
            return
        buffer = io.BytesIO()
        np.savez(buffer, **dict(inputs))  # type: ignore[arg-type]
        data = buffer.getvalue()
        if len(self._paths) >= self._max_requests or sum(self._sizes.values()) + len(data) > self._max_bytes:
            raise OutboxFullError(f"{len(self)} requests are waiting, no more fit", where=str(self._folder))
        self._last = max(time.time_ns(), self._last + 1)
        path = self._folder / f"{self._last:020d}-{request_id}{_SUFFIX}"
        with files.disk_errors(path):
            _write_through(path, data)
        self._paths[request_id] = path
        self._sizes[request_id] = len(data)

    def get(self, request_id: str) -> dict[str, np.ndarray]:
        """Inputs of a waiting request.

        Raises:
            TargetError: Its file cannot be read any more.
        """
        path = self._paths[request_id]
        try:
            with np.load(path, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        except Exception as error:  # NumPy and zipfile raise kinds of their own for a damaged file
            raise TargetError("the queued request cannot be read", where=str(path)) from error

    def remove(self, request_id: str) -> None:
        """Forget a request that was answered.

        Raises:
            TargetError: The disk fails.
        """
        path = self._paths[request_id]
        with files.disk_errors(path):
            path.unlink()
            _sync_folder(self._folder)
        del self._paths[request_id], self._sizes[request_id]

    def reject(self, request_id: str) -> None:
        """Set a request aside that can never be answered: its file gets the suffix ``.rejected``.

        Raises:
            TargetError: The disk fails.
        """
        path = self._paths[request_id]
        with files.disk_errors(path):
            path.replace(path.with_name(f"{path.name}.rejected"))
            _sync_folder(self._folder)
        del self._paths[request_id], self._sizes[request_id]


def _id(path: Path) -> str:
    return path.name.split("-", 1)[1][: -len(_SUFFIX)]


def _write_through(path: Path, data: bytes) -> None:
    """Write a file so that it is on the disk, under its name, when this returns."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
