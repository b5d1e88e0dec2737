"""Answers requests as they come: from a folder, from standard input, or from a local socket.

A request is a file (``.npy`` or ``.npz``), or a line that names one, or a line of JSON:
``{"id": "7", "inputs": {"x": [[1, 2]]}}``, perhaps with the ``size`` in bytes of what the inputs were made
from. Every answer is one line of JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from edgecut.ir import files
from edgecut.ir.errors import EdgecutError, ModelError, TargetError
from edgecut.ir.manifest import Manifest
from edgecut.runtime import describe, inputs
from edgecut.runtime.client import CloudError
from edgecut.runtime.outbox import OutboxFullError
from edgecut.runtime.session import Session

_POLL_S = 0.2
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_MAX_LINE = 64 << 20


@dataclass(frozen=True)
class Request:
    """One request, and what to do once it has been answered or kept."""

    id: str
    read: Callable[[], dict[str, np.ndarray]]
    done: Callable[[Optional[str]], None] = lambda line: None
    """Gets the line of JSON, or None where the request was put into the outbox."""
    durable: bool = False
    """Whether the source gives it again if it is not done."""
    size: Optional[int] = None
    """Bytes of the original inputs, where the source says so."""


@dataclass
class Watcher:
    """Takes requests from a source and gives answers, until there are no more or it is told to stop.

    Args:
        session: Answers them.
        write: Takes each answer, a line of JSON without its end.
        status: File that the session's status is kept in.
    """

    session: Session
    write: Callable[[str], None]
    status: Optional[Path] = None
    _stopping: bool = field(default=False, init=False)

    def run(self, source: Iterator[Optional[Request]]) -> None:
        """Work until the source ends. A None from the source means that nothing has come for a while."""
        for request in source:
            if request is not None:
                self._answer(request)
            self._drain()
            if self._stopping:
                break
        self._tell_status()

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT end the work after the request that is under way."""

        def stop(*_: Any) -> None:
            self._stopping = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)

    def _answer(self, request: Request) -> None:
        line: Optional[str]
        try:
            answer = self.session.submit(request.read(), request.id, request.size)
            line = None if answer is None else _line(request.id, describe.as_json(answer))
        except (CloudError, OutboxFullError) as error:
            if request.durable:
                return  # it stays where it is, and comes again
            line = json.dumps({"id": request.id, "error": str(error)})
        except EdgecutError as error:
            line = json.dumps({"id": request.id, "error": str(error)})
        if line is not None:
            self.write(line)
        request.done(line)
        self._tell_status()

    def _drain(self) -> None:
        for request_id, answer in self.session.drain():
            self.write(_line(request_id, describe.as_json(answer)))
            if self._stopping:
                break

    def _tell_status(self) -> None:
        if self.status is not None:
            files.write(self.status, json.dumps(self.session.status()).encode() + b"\n")


class AnswerFile:
    """Answers on disk, each once: a line is there before its request is forgotten.

    Args:
        path: The file; what it holds already is not written again.

    Raises:
        TargetError: It cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        with files.disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            self._file.seek(0)
            content = self._file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._file.truncate(len(whole))  # a line that a power cut left unfinished
        self._ids = {_id_of(line) for line in whole.splitlines()}

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._ids

    def write(self, line: str) -> None:
        """Append an answer, unless its request has one.

        Raises:
            TargetError: The disk is full or fails.
        """
        request_id = _id_of(line.encode())
        if request_id in self._ids:
            return
        with files.disk_errors(Path(self._file.name)):
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self._ids.add(request_id)


def folder(path: Path, described: Manifest, *, once: bool = False) -> Iterator[Optional[Request]]:
    """Files of a folder as they appear, oldest name first; each is moved to ``done`` beside them.

    A file is taken as soon as it is seen: write it under a name that begins with a dot, then rename it.

    Raises:
        ModelError: There is no such folder.
    """
    if not path.is_dir():
        raise ModelError("is no folder", where=str(path))
    taken = path / "done"
    while True:
        found = sorted(p for p in path.iterdir() if _is_request(p))
        for file in found:
            yield _of_file(file, described, taken)
        if once:
            return
        if not found:
            time.sleep(_POLL_S)
            yield None


def lines(described: Manifest, stream: Any = None) -> Iterator[Optional[Request]]:
    """Lines of standard input (or another binary stream)."""
    for number, line in enumerate(stream or sys.stdin.buffer, start=1):
        if line.strip():
            yield _of_line(line, f"line-{number}", described, lambda _: None)


def local_socket(path: Path, described: Manifest) -> Iterator[Optional[Request]]:
    """Lines that clients of a Unix socket send, one client at a time; answers go back to them.

    Raises:
        TargetError: The socket cannot be made.
    """
    with files.disk_errors(path), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen()
        number = 0
        while True:
            if not select.select([listener], [], [], _POLL_S)[0]:
                yield None
                continue
            client, _ = listener.accept()
            with client, client.makefile("rb") as stream:
                for line in iter(lambda stream=stream: stream.readline(_MAX_LINE), b""):  # type: ignore[misc]
                    number += 1
                    yield _of_line(line, f"socket-{number}", described, _replier(client))


def _replier(client: socket.socket) -> Callable[[Optional[str]], None]:
    def reply(line: Optional[str]) -> None:
        try:
            client.sendall((line or '{"queued": true}').encode() + b"\n")
        except OSError:
            return  # the client is gone; its answer went to the other outputs

    return reply


def _is_request(path: Path) -> bool:
    return path.suffix in (".npy", ".npz") and not path.name.startswith(".") and path.is_file()


def _of_file(path: Path, described: Manifest, taken: Path) -> Request:
    def done(_line: Optional[str]) -> None:
        with files.disk_errors(path):
            taken.mkdir(exist_ok=True)
            path.replace(taken / path.name)

    return Request(_safe(path.stem), lambda: inputs.read(described, [str(path)]), done, durable=True)


def _of_line(line: bytes, name: str, described: Manifest, done: Callable[[Optional[str]], None]) -> Request:
    text = line.decode("utf-8", "replace").strip()
    if not text.startswith("{"):
        return Request(_safe(Path(text).stem), lambda: inputs.read(described, [text]), done)
    try:
        data = json.loads(text)
        request_id = _safe(str(data.get("id", name)))
    except (ValueError, RecursionError):
        data, request_id = None, name
    size = data.get("size") if isinstance(data, dict) else None
    return Request(
        request_id, lambda: _arrays(data, described), done, size=size if isinstance(size, int) else None
    )


def _arrays(data: Any, described: Manifest) -> dict[str, np.ndarray]:
    given = data.get("inputs") if isinstance(data, dict) else None
    if not isinstance(given, dict):
        raise ModelError('is no request: {"id": "7", "inputs": {"x": [[1, 2]]}}', where="the line")
    types = {t.name: t.dtype for t in described.inputs}
    try:
        return {name: np.asarray(values, types.get(name, "float32")) for name, values in given.items()}
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelError(f"holds no numbers of the model's type: {error}", where="the line") from error


def _safe(name: str) -> str:
    """A name that can be part of a file name; other names stay distinct by their hash."""
    cleaned = _UNSAFE.sub("_", name).lstrip("._-")[:80]
    if cleaned == name:
        return name
    return f"{cleaned or 'request'}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _line(request_id: str, answer: str) -> str:
    return json.dumps({"id": request_id, **json.loads(answer)}, separators=(",", ":"))


def _id_of(line: bytes) -> str:
    try:
        return str(json.loads(line)["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise TargetError("holds a line that is no answer", where="the answers' file") from error


__all__ = ["AnswerFile", "Request", "Watcher", "folder", "lines", "local_socket"]
