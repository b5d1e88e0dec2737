"""Puts the server on a port: in the foreground for ``edgecut serve``, or in a thread for a check."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from edgecut.ir.errors import TargetError, UsageError
from edgecut.runtime.engine import Engine
from edgecut.runtime.repository import Repository

_KEEP_ALIVE_S = 75
_DRAIN_S = 10
_START_S = 30.0


@dataclass(frozen=True)
class Settings:
    """How a server is run."""

    threads: int = 1
    """CPU threads of each model."""
    workers: int = 1
    """Requests, or batches of them, that run at once."""
    max_batch: int = 8
    """Waiting requests that a model is run on at once, if it can be."""
    max_waiting: int = 64
    """Requests that may wait for a worker; others are refused with 503."""
    max_body: int = 64 << 20
    """Bytes of the largest request that is read."""
    token_file: Optional[Path] = None
    """Bearer tokens, one of which a request must hold; None lets everyone in."""
    certificate: Optional[Path] = None
    """TLS certificate chain, PEM; None speaks plain HTTP."""
    key: Optional[Path] = None
    """Its private key, PEM."""
    require_signature: Optional[Path] = None
    """Public keys, one of which must have signed each build's manifest; None takes unsigned ones."""


def serve(
    builds: Sequence[Path],
    *,
    host: str,
    port: int,
    settings: Settings = Settings(),
    announce: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the cloud halves of some builds until SIGINT or SIGTERM; running requests are finished.

    Args:
        builds: Build folders.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        settings: How it is run.
        announce: Told the URL once the server answers.

    Raises:
        ModelError: A build is invalid.
        TargetError: The address cannot be listened on.
        UsageError: The tokens or the certificate cannot be used.
    """
    with _listen(host, port) as listener:
        server = _uvicorn(builds, settings)
        url = _url(host, listener, settings)
        notice = threading.Thread(target=_announce, args=(server, lambda: announce(url)), daemon=True)
        notice.start()
        # uvicorn raises the signal again when it has drained; by then it means nothing more.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        server.run(sockets=[listener])


@contextlib.contextmanager
def background(builds: Sequence[Path], settings: Settings = Settings()) -> Iterator[str]:
    """Serve some builds on a free loopback port while the block runs; gives the URL.

    Raises:
        ModelError: A build is invalid.
        TargetError: The server does not start.
        UsageError: The tokens or the certificate cannot be used.
    """
    with _listen("127.0.0.1", 0) as listener:
        server = _uvicorn(builds, settings)
        url = _url("127.0.0.1", listener, settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            if not _wait_started(server, thread):
                raise TargetError("the server does not start", where=url)
            yield url
        finally:
            server.should_exit = True
            thread.join(_DRAIN_S)


def asgi(builds: Sequence[Path], settings: Settings) -> Any:
    """The server of some builds as an ASGI application, whatever runs it.

    Raises:
        ModelError: A build is invalid.
        UsageError: The tokens cannot be used.
    """
    from edgecut.runtime import tokens
    from edgecut.runtime.server import application

    repository = Repository(
        builds, threads=settings.threads, max_batch=settings.max_batch, keys=settings.require_signature
    )
    allowed = tokens.read(settings.token_file) if settings.token_file else []
    engine = Engine(workers=settings.workers, max_waiting=settings.max_waiting)
    return application(repository, engine, max_body=settings.max_body, tokens=allowed)


def _uvicorn(builds: Sequence[Path], settings: Settings) -> Any:
    import uvicorn

    from edgecut.runtime.http11 import HeadDeadlineProtocol

    config = uvicorn.Config(
        asgi(builds, settings),
        http=HeadDeadlineProtocol,
        log_level="error",
        access_log=False,
        lifespan="on",
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_DRAIN_S,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        hint = "PEM files: --tls-cert CHAIN --tls-key KEY"
        raise UsageError(f"cannot be used: {error}", where=str(settings.certificate), hint=hint) from error
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


def _url(host: str, listener: socket.socket, settings: Settings) -> str:
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if settings.certificate else "http"
    return f"{scheme}://{shown}:{listener.getsockname()[1]}"


def _announce(server: Any, tell: Callable[[], None]) -> None:
    if _wait_started(server, threading.current_thread()):
        tell()


def _wait_started(server: Any, thread: threading.Thread) -> bool:
    end = time.monotonic() + _START_S
    while not server.started and thread.is_alive() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(server.started)
