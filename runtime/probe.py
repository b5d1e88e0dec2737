"""Asks the network how it is while the device computes, so that no request waits for it.

On a cut that sends nothing, a device learns nothing about the network, and would stay on that cut when the
network has long recovered. So a few bytes without meaning are sent to the server beside the computation.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import Optional, Protocol

from edgecut.runtime.client import Client, CloudError

PROBE_BYTES = 12_000
"""They fit into TCP's first window (ten segments), so that their time is a round trip and their own way."""
PROBE_S = 5.0
"""Seconds after which a probe is given up."""


@dataclass(frozen=True)
class Probe:
    """What one probe found; times in seconds, None where the server did not answer in time."""

    rtt_s: Optional[float]
    bytes: int = 0
    """Sent after the round trip was measured; 0 if nothing was."""
    seconds: float = 0.0
    """Until they were answered, or given up."""
    answered: bool = True


class Prober(Protocol):
    """Runs probes beside requests."""

    def start(self, size: int) -> bool:
        """Begin a probe of this many bytes (0: the round trip alone), unless one is under way."""

    def take(self) -> Optional[Probe]:
        """What a probe found that has ended since, or None."""

    def close(self) -> None:
        """Close the connection."""


class BackgroundProber:
    """Probes over a connection of its own, in a thread that lives while there is something to do.

    Args:
        client: Not used by anyone else.
        timeout_s: Seconds after which a probe is given up.
    """

    def __init__(self, client: Client, *, timeout_s: float = PROBE_S) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._found: queue.SimpleQueue[Probe] = queue.SimpleQueue()
        self._thread: Optional[threading.Thread] = None

    def start(self, size: int) -> bool:
        """Begin a probe, unless one is under way."""
        if self._thread is not None and self._thread.is_alive():
            return False
        self._thread = threading.Thread(target=self._run, args=(size,), daemon=True)
        self._thread.start()
        return True

    def take(self) -> Optional[Probe]:
        """What a probe found that has ended since, or None."""
        try:
            return self._found.get_nowait()
        except queue.Empty:
            return None

    def close(self) -> None:
        """Wait for the probe under way, and close the connection."""
        if self._thread is not None:
            self._thread.join(self._timeout_s)
        self._client.close()

    def _run(self, size: int) -> None:
        rtt_s = self._ping()
        if rtt_s is None or not size:
            self._found.put(Probe(rtt_s, answered=rtt_s is not None))
            return
        start = time.perf_counter()
        try:
            self._client.sink(size, self._timeout_s)
            answered = True
        except CloudError:
            answered = False
        self._found.put(Probe(rtt_s, size, time.perf_counter() - start, answered))

    def _ping(self) -> Optional[float]:
        """Seconds of a small request on an open connection."""
        if not self._client.connected and not self._client.ready(self._timeout_s):
            return None
        start = time.perf_counter()
        return time.perf_counter() - start if self._client.ready(self._timeout_s) else None
