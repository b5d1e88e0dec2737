"""Leaves a server that fails alone for a while, so that requests do not each wait for it to fail again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable


class Breaker:
    """A circuit breaker.

    Closed, it lets every request through. After several failures in a row it opens: requests are turned
    away until a pause is over, which then lets one through to try. That one's success closes it; its
    failure doubles the pause.

    Args:
        failures: Failures in a row that open it.
        pause_s: First pause, in seconds.
        max_pause_s: Longest pause.
        clock: Seconds, never going back.
        jitter: Gives numbers from 0 to 1: pauses vary by a fifth, lest all devices return at once.
    """

    def __init__(
        self,
        *,
        failures: int = 3,
        pause_s: float = 1.0,
        max_pause_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._limit = failures
        self._first_pause_s = min(pause_s, max_pause_s)
        self._max_pause_s = max_pause_s
        self._clock = clock
        self._jitter = jitter
        self._failed = 0
        self._pause_s = self._first_pause_s
        self._closed_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it has opened and not closed again."""
        return self._failed >= self._limit

    def allows(self) -> bool:
        """Whether a request may go to the server now."""
        return not self.is_open or self._clock() >= self._closed_until

    def succeeded(self) -> None:
        """A request was answered."""
        self._failed = 0
        self._pause_s = self._first_pause_s

    def failed(self, retry_after_s: float = 0.0) -> None:
        """A request was not answered; the server may have said how long to leave it alone."""
        self._failed += 1
        if retry_after_s > 0:
            self._failed = max(self._failed, self._limit)
        if not self.is_open:
            return
        pause = min(max(self._pause_s, retry_after_s), self._max_pause_s)
        self._closed_until = self._clock() + pause * (0.9 + 0.2 * self._jitter())
        self._pause_s = min(2 * self._pause_s, self._max_pause_s)
