"""The device's side of the protocol: one connection to one server, kept open between requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional, Union
from urllib.parse import quote, urlsplit

from edgecut.ir.errors import ModelError, TargetError, UsageError
from edgecut.runtime import deadline, wire
from edgecut.runtime.codec import WireError
from edgecut.runtime.sending import Body, Progressive, unacknowledged

MAX_ANSWER = 1 << 30
Content = Union[bytes, Body, None]
_CLOSED = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)


class CloudError(TargetError):
    """The server did not answer, or not with an answer.

    Attributes:
        kind: ``refused``, ``timeout``, ``reset``, ``status`` or ``garbage``.
        status: HTTP status where the server sent one, else 0.
        retry_after_s: Seconds that the server asked to be left alone, else 0.
        answer: What the edge answers by itself, where it does (`edgecut.runtime.device.Answer`).
    """

    def __init__(
        self,
        what: str,
        *,
        where: str,
        kind: str,
        status: int = 0,
        hint: Optional[str] = None,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.kind = kind
        self.status = status
        self.retry_after_s = retry_after_s
        self.answer: Any = None


@dataclass(frozen=True)
class Exchange:
    """One answered request: what came back, how many bytes, and when."""

    response: wire.Response
    sent_bytes: int
    whole_bytes: int
    """Those that would have been sent, had there been time for all."""
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
        token: Sent as a bearer token.
        ca: Certificates that the server's is checked against, instead of the system's.
        permitted: Names of the tensors that may be sent, by model; None permits all.

    Raises:
        UsageError: The URL is no such URL, or the certificates cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Optional[str] = None,
        ca: Optional[str] = None,
        permitted: Optional[Mapping[str, Collection[str]]] = None,
    ) -> None:
        self._permitted = permitted
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._base, self._connection = _connection(self.url, ca)

    def infer(
        self,
        model: str,
        request: wire.Request,
        timeout_s: float = 30.0,
        progressive: Optional[Progressive] = None,
    ) -> Exchange:
        """Ask a model.

        Args:
            model: Its name.
            request: What is asked.
            timeout_s: Seconds that everything may take, from connecting to the last byte.
            progressive: A tensor of the request that may end early, if there is no time for all of it.

        Raises:
            CloudError: The server cannot be reached, is too slow, refuses, or answers with garbage.
            ModelError: A tensor may not be sent; nothing was.
        """
        self._check(model, request)
        end = time.monotonic() + timeout_s
        start = time.perf_counter()
        body: Union[bytes, Body]
        body, headers = _encoded(request, progressive, end)
        encoded_at = time.perf_counter()
        path = f"{self._base}/v2/models/{quote(model, safe='')}/infer"
        with self._faults(timeout_s):
            answer = self._send("POST", path, body, headers, end)
            answered_at = time.perf_counter()
            found = self._read(answer)
        # What spoils requests or answers may be on the way, and a kept connection would meet it for ever.
        if answer.status != 200:
            self.close()
            raise self._refusal(answer, found)
        try:
            length = wire.header_length(answer.getheader(wire.LENGTH_HEADER))
            response = wire.decode_response(found, length)
        except WireError as error:
            self.close()
            raise self._error(f"answered with garbage: {error}", "garbage") from error
        times = (encoded_at - start, answered_at - encoded_at, time.perf_counter() - answered_at)
        sent = body.sent if isinstance(body, Body) else len(body)
        whole = body.size if isinstance(body, Body) else len(body)
        return Exchange(response, sent, whole, len(found), *times)

    def _check(self, model: str, request: wire.Request) -> None:
        """Let nothing out that is not listed, however it came here."""
        if self._permitted is None:
            return
        listed = self._permitted.get(model, ())
        for name in request.tensors:
            if name not in listed:
                raise ModelError(
                    "is not among what the manifest sends to this model", where=f"{name} -> {model}"
                )

    def ready(self, timeout_s: float = 5.0) -> bool:
        """Whether the server answers that it is ready."""
        path, end = f"{self._base}/v2/health/ready", time.monotonic() + timeout_s
        try:
            with self._faults(timeout_s):
                answer = self._send("GET", path, None, {}, end)
                self._read(answer)
        except CloudError:
            return False
        return answer.status == 200

    def sink(self, size: int, timeout_s: float) -> None:
        """Send some bytes without meaning, and wait until the server has read them.

        A server that does not know what they are for answers 404, which says the same.

        Raises:
            CloudError: The server cannot be reached, or is too slow.
        """
        path, end = f"{self._base}{wire.SINK_PATH}", time.monotonic() + timeout_s
        with self._faults(timeout_s):
            self._read(self._send("POST", path, os.urandom(size), {}, end))

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as this side knows."""
        return self._connection.sock is not None

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def _send(
        self, method: str, path: str, body: Content, headers: dict[str, str], end: float
    ) -> http.client.HTTPResponse:
        """Send, once more on a new connection where the kept one turns out to have been closed."""
        reused = self._connection.sock is not None
        try:
            return self._send_once(method, path, body, headers, end)
        except _CLOSED:
            if not reused:
                raise
        self._connection.close()
        return self._send_once(method, path, body, headers, end)

    def _send_once(
        self, method: str, path: str, body: Content, headers: dict[str, str], end: float
    ) -> http.client.HTTPResponse:
        deadline.connect(self._connection, end)
        headers = {**headers, **self._headers}
        if isinstance(body, Body):
            headers["Transfer-Encoding"] = "chunked"
            held: Any = self._connection.sock
            parts = body.parts(lambda: unacknowledged(held.inner))
            self._connection.request(method, path, parts, headers, encode_chunked=True)
        else:
            self._connection.request(method, path, body, headers)
        return self._connection.getresponse()

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        body = answer.read(MAX_ANSWER + 1)
        if len(body) > MAX_ANSWER:
            raise http.client.HTTPException("the answer is over 1 GiB")
        if answer.length:
            raise http.client.IncompleteRead(body, answer.length)
        return body

    @contextlib.contextmanager
    def _faults(self, timeout_s: float) -> Iterator[None]:
        """Close the connection on any fault, so that no late answer is taken for another request's."""
        try:
            yield
        except (socket.timeout, TimeoutError) as error:
            self.close()
            raise self._error(f"did not answer within {timeout_s:g} s", "timeout") from error
        except ConnectionRefusedError as error:
            self.close()
            hint = "start it with: edgecut serve build/"
            raise self._error("refuses connections", "refused", hint=hint) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            reason = str(error) or type(error).__name__
            raise self._error(f"broke the connection: {reason}", "reset") from error

    def _refusal(self, answer: http.client.HTTPResponse, body: bytes) -> CloudError:
        try:
            text = str(json.loads(body)["error"])
        except (ValueError, KeyError, TypeError):
            text = body[:200].decode("utf-8", "replace")
        after = answer.getheader("Retry-After", "")
        retry_after_s = float(after) if after.isascii() and after.isdigit() and len(after) < 6 else 0.0
        return self._error(f"answered {answer.status}: {text}", "status", None, answer.status, retry_after_s)

    def _error(
        self,
        what: str,
        kind: str,
        hint: Optional[str] = None,
        status: int = 0,
        retry_after_s: float = 0.0,
    ) -> CloudError:
        return CloudError(
            what, where=self.url, kind=kind, status=status, hint=hint, retry_after_s=retry_after_s
        )


def _encoded(
    request: wire.Request, progressive: Optional[Progressive], end: float
) -> tuple[Union[bytes, Body], dict[str, str]]:
    """Body and headers of a request; one that ends early only where there may be no time for all."""
    plain = wire.encode_request(request)
    if progressive is None:
        return plain.body, plain.headers
    name, ends = progressive.name, progressive.ends
    others = {key: array for key, array in request.tensors.items() if key != name}
    tensors = {**others, name: request.tensors[name]}
    encoded = wire.encode_request(replace(request, tensors=tensors, prefix=(name, ends[0])))
    begin = len(encoded.body) - ends[-1]
    pieces = [encoded.body[begin + ends[i - 1] : begin + ends[i]] for i in range(1, len(ends))]
    body = Body(encoded.body[: begin + ends[0]], pieces, progressive.link, end)
    return (body, encoded.headers) if body.is_urgent else (plain.body, plain.headers)


def _connection(url: str, ca: Optional[str]) -> tuple[str, http.client.HTTPConnection]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError("is no URL", where=url, hint="http://host:port") from error
    known = parts.scheme in ("http", "https") and host
    if not known or host is None or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError("is no server URL", where=url, hint="http://host:port")
    base = parts.path.rstrip("/")
    if parts.scheme == "http":
        return base, http.client.HTTPConnection(host, port)
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise UsageError(f"holds no certificates: {error}", where=str(ca)) from error
    return base, http.client.HTTPSConnection(host, port, context=context)
