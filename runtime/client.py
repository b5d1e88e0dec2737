"""The device's side of the protocol: one connection to one server, kept open between requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional
from urllib.parse import quote, urlsplit

from edgecut.ir.errors import TargetError, UsageError
from edgecut.runtime import wire
from edgecut.runtime.codec import WireError

MAX_ANSWER = 1 << 30
_REUSED_AND_CLOSED = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)


class CloudError(TargetError):
    """The server did not answer, or not with an answer.

    Attributes:
        kind: ``refused``, ``timeout``, ``reset``, ``status`` or ``garbage``.
        status: HTTP status where the server sent one, else 0.
    """

    def __init__(self, what: str, *, where: str, kind: str, status: int = 0, hint: Optional[str] = None):
        super().__init__(what, where=where, hint=hint)
        self.kind = kind
        self.status = status


@dataclass(frozen=True)
class Exchange:
    """One answered request: what came back, how many bytes, and when."""

    response: wire.Response
    sent_bytes: int
    received_bytes: int
    encode_s: float
    wait_s: float
    """From the first byte sent to the first byte of the answer."""
    receive_s: float
    """From the first byte of the answer to the decoded tensors."""


class Client:
    """A keep-alive connection to an Open Inference Protocol server. Not for use by two threads at once.

    Args:
        url: ``http://host:port``, with a path in front of ``/v2`` where the server has one.
        timeout_s: Longest silence of the server that is waited for, in seconds.

    Raises:
        UsageError: The URL is no such URL.
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self._base, self._connection = _connection(self.url, timeout_s)

    def infer(self, model: str, request: wire.Request) -> Exchange:
        """Ask a model.

        Raises:
            CloudError: The server cannot be reached, is too slow, refuses, or answers with garbage.
        """
        start = time.perf_counter()
        encoded = wire.encode_request(request)
        encoded_at = time.perf_counter()
        path = f"{self._base}/v2/models/{quote(model, safe='')}/infer"
        with self._faults():
            answer = self._send(path, encoded)
            answered_at = time.perf_counter()
            body = self._read(answer)
        length = answer.getheader(wire.LENGTH_HEADER)
        if answer.status != 200:
            raise self._refusal(answer.status, body)
        try:
            response = wire.decode_response(body, wire.header_length(length))
        except WireError as error:
            raise self._error(f"answered with garbage: {error}", "garbage") from error
        done = time.perf_counter()
        sent, received = len(encoded.body), len(body)
        times = (encoded_at - start, answered_at - encoded_at, done - answered_at)
        return Exchange(response, sent, received, *times)

    def ready(self) -> bool:
        """Whether the server answers that it is ready."""
        try:
            with self._faults():
                self._connection.request("GET", f"{self._base}/v2/health/ready")
                answer = self._connection.getresponse()
                self._read(answer)
        except CloudError:
            return False
        return answer.status == 200

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def _send(self, path: str, encoded: wire.Encoded) -> http.client.HTTPResponse:
        """Send, once more on a new connection where the kept one turns out to have been closed."""
        reused = self._connection.sock is not None
        try:
            self._connection.request("POST", path, encoded.body, encoded.headers)
            return self._connection.getresponse()
        except _REUSED_AND_CLOSED:
            if not reused:
                raise
        self._connection.close()
        self._connection.request("POST", path, encoded.body, encoded.headers)
        return self._connection.getresponse()

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        body = answer.read(MAX_ANSWER + 1)
        if len(body) > MAX_ANSWER:
            raise self._error("answers with more than 1 GiB", "garbage")
        if answer.length:
            raise http.client.IncompleteRead(body, answer.length)
        return body

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (socket.timeout, TimeoutError) as error:
            self.close()
            raise self._error(f"did not answer within {self.timeout_s:g} s", "timeout") from error
        except ConnectionRefusedError as error:
            self.close()
            hint = "start it with: edgecut serve build/"
            raise self._error("refuses connections", "refused", hint=hint) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            reason = str(error) or type(error).__name__
            raise self._error(f"broke the connection: {reason}", "reset") from error

    def _refusal(self, status: int, body: bytes) -> CloudError:
        try:
            text = str(json.loads(body)["error"])
        except (ValueError, KeyError, TypeError):
            text = body[:200].decode("utf-8", "replace")
        return self._error(f"answered {status}: {text}", "status", status=status)

    def _error(self, what: str, kind: str, *, status: int = 0, hint: Optional[str] = None) -> CloudError:
        return CloudError(what, where=self.url, kind=kind, status=status, hint=hint)


def _connection(url: str, timeout_s: float) -> tuple[str, http.client.HTTPConnection]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError("is no URL", where=url, hint="http://host:port") from error
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not host or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError("is no server URL", where=url, hint="http://host:port")
    return parts.path.rstrip("/"), kinds[parts.scheme](host, port, timeout=timeout_s)
