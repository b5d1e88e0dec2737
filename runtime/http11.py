"""uvicorn's HTTP protocol, with a deadline for the head of a request.

uvicorn waits for ever for a client that sends its head byte by byte; each such client holds a connection.
"""

from __future__ import annotations

import asyncio
from typing import Any, Optional

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0


class HeadDeadlineProtocol(H11Protocol):
    """Closes connections whose request's head is not complete in time."""

    _timer: Optional[asyncio.TimerHandle] = None

    def connection_made(self, transport: Any) -> None:
        """Give the first request its time."""
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Begin to wait with the first byte of a head, and stop with its last one."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._disarm()
        elif self._timer is None:
            self._arm()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Forget the timer."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
