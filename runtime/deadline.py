"""Sockets that keep a deadline for a whole request, however slowly the other side trickles."""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any, Optional


class DeadlineSocket:
    """What `http.client` needs of a socket, with one deadline for all that is sent and received."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.deadline = float("inf")

    def sendall(self, data: Any) -> None:
        """Send everything before the deadline, or raise TimeoutError."""
        self.arm()
        self._socket.sendall(data)

    def makefile(self, mode: str, *_: Any, **__: Any) -> io.BufferedReader:
        """A reader whose every read keeps the deadline."""
        return io.BufferedReader(_Reader(self, self._socket.makefile("rb", buffering=0)))

    @property
    def inner(self) -> socket.socket:
        """The socket itself."""
        return self._socket

    def arm(self) -> None:
        """Let the next operation take no longer than what is left."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        self._socket.settimeout(None if left == float("inf") else left)

    def close(self) -> None:
        """Close the socket once its readers are closed."""
        self._socket.close()

    def shutdown(self, how: int) -> None:
        """As of sockets."""
        self._socket.shutdown(how)


class _Reader(io.RawIOBase):
    def __init__(self, owner: DeadlineSocket, raw: Any) -> None:
        self._owner = owner
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        self._owner.arm()
        found: Optional[int] = self._raw.readinto(buffer)
        return found

    def close(self) -> None:
        self._raw.close()
        super().close()


def connect(connection: http.client.HTTPConnection, deadline: float) -> None:
    """Open a connection, if it is not open, and set the deadline of what follows.

    Args:
        connection: The connection.
        deadline: On the clock of `time.monotonic`.

    Raises:
        OSError: It cannot be opened (TimeoutError: not in time).
    """
    held: Any = connection.sock
    if held is None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        connection.timeout = None if left == float("inf") else left
        connection.connect()
        opened: Any = connection.sock
        held = connection.sock = DeadlineSocket(opened)
    held.deadline = deadline
