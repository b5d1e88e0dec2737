"""Sends a coded tensor while there is time, and stops so early that the answer still comes in time.

How fast the network takes bytes is seen while they are sent: the kernel knows how many the other side has
not acknowledged yet. So much is kept on the way as will arrive in time, and no more, since what is on the
way cannot be called back.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Optional

_DOUBT = 0.25
"""Part of the believed bandwidth that is counted with before any byte was acknowledged ..."""
_TRUST = 0.8
"""... and of that which was measured."""
_POLL_S = 0.002
_UNSENT = 0x5411  # SIOCOUTQ of Linux: bytes that were not acknowledged


@dataclass(frozen=True)
class Link:
    """What is believed of the way to the server.

    Args:
        bytes_per_s: Bandwidth.
        rtt_s: Round trip.
        after_s: Seconds from the arrival of the last byte to that of the answer.
    """

    bytes_per_s: float
    rtt_s: float
    after_s: float


@dataclass(frozen=True)
class Progressive:
    """A tensor of a request that may end early.

    Args:
        name: Of the tensor, which is sent last.
        ends: Bytes after which it may end, increasing; the last is its whole length.
        link: How it gets there.
    """

    name: str
    ends: tuple[int, ...]
    link: Link


class Body:
    """A request's body that ends when there is no more time.

    Args:
        first: What is sent in any case.
        rest: What follows if there is time, the most important first.
        link: How it gets there.
        end: When the answer must be there, on the clock of `time.monotonic`.
    """

    def __init__(self, first: bytes, rest: list[bytes], link: Link, end: float) -> None:
        self._first, self._rest, self._link = first, rest, link
        self.size = len(first) + sum(map(len, rest))
        """Bytes of all of it."""
        self._until = end - link.after_s
        self.sent = len(first)
        """Bytes that were sent so far."""

    @property
    def is_urgent(self) -> bool:
        """Whether some of it might come too late, if the network was far slower than is believed."""
        return self.size > _DOUBT * self._link.bytes_per_s * (self._until - time.monotonic())

    def parts(self, backlog: Callable[[], Optional[int]]) -> Iterator[bytes]:
        """The parts, each when it is time for it.

        Args:
            backlog: Gives the bytes that were sent and are not acknowledged; None where that is not known.
        """
        self.sent = len(self._first)
        start = time.monotonic()
        yield self._first
        for part in self._rest:
            if not self._wait(len(part), start, backlog):
                return
            self.sent += len(part)
            yield part

    def _wait(self, size: int, start: float, backlog: Callable[[], Optional[int]]) -> bool:
        """Wait until so many more bytes may be sent; False if they would come too late."""
        while True:
            now = time.monotonic()
            ahead, rate = self._progress(now - start, backlog())
            if ahead + size <= rate * (self._until - now):
                return True
            if ahead <= 0 or now >= self._until:
                return False
            time.sleep(_POLL_S)

    def _progress(self, seconds: float, unacknowledged: Optional[int]) -> tuple[float, float]:
        """Bytes on the way, and bytes/s to count with."""
        believed = self._link.bytes_per_s
        if unacknowledged is None:
            return max(self.sent - _TRUST * believed * seconds, 0.0), _TRUST * believed
        ahead = min(unacknowledged, self.sent)
        if ahead == self.sent:
            return ahead, _DOUBT * believed
        # Acknowledgements take a round trip longer than the bytes did; how long that is, is only believed.
        done, moving_s = self.sent - ahead, max(seconds - self._link.rtt_s, 0.1 * seconds, 1e-6)
        return ahead, _TRUST * max(done / max(seconds, 1e-6), min(done / moving_s, believed))


def unacknowledged(connection: Any) -> Optional[int]:
    """Bytes that the other side of a socket has not acknowledged; None where the system does not say."""
    if not sys.platform.startswith("linux") or not isinstance(connection, socket.socket):
        return None
    import fcntl

    try:
        found = fcntl.ioctl(connection.fileno(), _UNSENT, struct.pack("i", 0))
    except OSError:
        return None
    return int(struct.unpack("i", found)[0])
