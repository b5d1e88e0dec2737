"""Puts the server on a port: in the foreground for ``edgecut serve``, or in a thread for a check."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgecut.ir.errors import TargetError
from edgecut.runtime.engine import Engine
from edgecut.runtime.repository import Repository

MAX_BODY = 64 << 20
"""Default bytes of the largest request."""
_DRAIN_S = 10
_START_S = 30.0


def serve(
    builds: Sequence[Path],
    *,
    host: str,
    port: int,
    threads: int = 1,
    workers: int = 1,
    max_body: int = MAX_BODY,
    announce: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the cloud halves of some builds until SIGINT or SIGTERM; running requests are finished.

    Args:
        builds: Build folders.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        threads: CPU threads of each model.
        workers: Requests that run at once.
        max_body: Bytes of the largest request that is read.
        announce: Told the URL once the server answers.

    Raises:
        ModelError: A build is invalid.
        TargetError: The address cannot be listened on.
    """
    repository = Repository(builds, threads=threads)
    with _listen(host, port) as listener:
        server = _uvicorn(repository, workers, max_body)
        url = _url(host, listener)
        notice = threading.Thread(target=_announce, args=(server, lambda: announce(url)), daemon=True)
        notice.start()
        # uvicorn raises the signal again when it has drained; by then it means nothing more.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        server.run(sockets=[listener])


@contextlib.contextmanager
def background(builds: Sequence[Path], *, threads: int = 1, max_body: int = MAX_BODY) -> Iterator[str]:
    """Serve some builds on a free loopback port while the block runs; gives the URL.

    Raises:
        ModelError: A build is invalid.
        TargetError: The server does not start.
    """
    with _listen("127.0.0.1", 0) as listener:
        server = _uvicorn(Repository(builds, threads=threads), 1, max_body)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            if not _wait_started(server, thread):
                raise TargetError("the server does not start", where=_url("127.0.0.1", listener))
            yield _url("127.0.0.1", listener)
        finally:
            server.should_exit = True
            thread.join(_DRAIN_S)


def _uvicorn(repository: Repository, workers: int, max_body: int) -> Any:
    import uvicorn

    from edgecut.runtime.server import application

    app = application(repository, Engine(workers=workers), max_body=max_body)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=_DRAIN_S
    )
    return uvicorn.Server(config)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # The protocol is named because asyncio sets TCP_NODELAY only then; without it each answer waits 40 ms
        # between its headers and its body for the device's delayed acknowledgement.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
        hint = "choose another --port, or 0 for a free one"
        raise TargetError(f"cannot listen: {reason}", where=f"{host}:{port}", hint=hint) from error
    return listener


def _url(host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _announce(server: Any, tell: Callable[[], None]) -> None:
    if _wait_started(server, threading.current_thread()):
        tell()


def _wait_started(server: Any, thread: threading.Thread) -> bool:
    end = time.monotonic() + _START_S
    while not server.started and thread.is_alive() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(server.started)
