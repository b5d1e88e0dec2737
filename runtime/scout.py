"""Decides when the network is asked how it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgecut.ir.manifest import CutRecord
from edgecut.runtime.estimate import INFORMATIVE_BYTES, Estimates
from edgecut.runtime.probe import PROBE_BYTES, Prober

_RTT_AGE_S = 60.0
_GAP = 2


class Scout:
    """Sends probes beside requests, and tells the estimates what they found.

    Beside a request that sends nothing, a probe measures the bandwidth: beside the first, and then beside
    every other one, so that a network that has become better is used by the third request. Where energy or
    money is what counts, none are sent. The round trip is measured when it is unknown, old, or doubted.

    Args:
        prober: Runs the probes.
        estimates: Are told.
        clock: Seconds, never going back.
        size: Bytes of a probe.
    """

    def __init__(
        self,
        prober: Prober,
        estimates: Estimates,
        *,
        clock: Callable[[], float] = time.monotonic,
        size: int = PROBE_BYTES,
    ) -> None:
        self._prober = prober
        self._estimates = estimates
        self._clock = clock
        self._size = size
        self._rtt_at = float("-inf")
        self._without = 0

    def report(self) -> None:
        """Tell the estimates what was found since the last request."""
        found = self._prober.take()
        if found is None:
            return
        if found.rtt_s is not None:
            self._estimates.observe_rtt(found.rtt_s)
        if found.bytes:
            self._estimates.observe_probe(found.bytes, found.seconds, found.answered)

    def doubt(self) -> None:
        """The network has changed: measure the round trip anew."""
        self._rtt_at = float("-inf")

    def send(self, cut: CutRecord) -> None:
        """Send a probe beside a request with this cut, if one is due."""
        is_idle = cut.cloud_model is None
        if is_idle and not self._estimates.objective.is_time:
            return
        self._without += 1
        size = self._bytes(cut) if is_idle and self._without >= _GAP else 0
        if not size and self._clock() - self._rtt_at < _RTT_AGE_S:
            return
        if self._prober.start(size):
            self._rtt_at = self._clock()
            self._without = 0

    def close(self) -> None:
        """Close the prober's connection."""
        self._prober.close()

    def _bytes(self, cut: CutRecord) -> int:
        """What should be through by the end of this request, lest it holds up the next probe."""
        if not self._size:
            return 0
        while_it_runs = self._estimates.up_bytes_per_s * self._estimates.edge_s(cut) / 2
        return int(min(self._size, max(INFORMATIVE_BYTES, while_it_runs)))
