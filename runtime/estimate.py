"""What the last requests tell about the network, the device and the server.

Every phase of a request has its own stamp, so that each estimate is fed by its own phase: a slow device
shows in the edge phase, a busy server in its queue, and neither is taken for a slow network.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable

from edgecut.ir.manifest import CutRecord, Manifest
from edgecut.runtime.device import Phases

INFORMATIVE_BYTES = 2048
"""Fewer bytes take about one round trip on any network: they say nothing about its bandwidth."""
_LEARN = 0.2
_USUAL = 0.03
_FORGET_S = 2.0


class Level:
    """The level of a noisy series: a median, which starts anew where the level has changed.

    One outlier does not move it, and two in the same direction do: a change is followed by the third
    value after it.

    Args:
        start: Level before anything has been seen.
        window: Values that the median is taken of.
        step: Factor from which on a difference is a change.
    """

    def __init__(self, start: float, *, window: int = 9, step: float = 1.5) -> None:
        self._start = start
        self._step = step
        self._values: deque[float] = deque(maxlen=window)

    @property
    def value(self) -> float:
        """The level."""
        return statistics.median(self._values) if self._values else self._start

    def add(self, value: float) -> bool:
        """Take a value in; True if the level is seen to have changed."""
        self._values.append(value)
        if len(self._values) < 3:
            return False
        *before, last, newest = self._values
        level = statistics.median(before)
        risen = min(last, newest) > level * self._step
        fallen = max(last, newest) * self._step < level
        if not (risen or fallen):
            return False
        self._values.clear()
        self._values.extend((last, newest))
        return True


class Estimates:
    """Estimates for one build, device, network and server.

    Args:
        manifest: Its figures are what is believed before anything has been seen.
        clock: Seconds, never going back.
    """

    def __init__(self, manifest: Manifest, *, clock: Callable[[], float] = time.monotonic) -> None:
        network = manifest.network
        self._down_per_up = network.down_mbps / network.up_mbps if network.up_mbps else 1.0
        self._clock = clock
        self._up = Level(network.up_mbps * 125_000, window=5, step=1.3)
        self._usual_log_up = math.log(max(network.up_mbps * 125_000, 1.0))
        self._seen_at = clock()
        self._seen = 0
        self._rtt_s = network.rtt_s
        self._queue_s = Level(0.0)
        self._edge = _Factors()
        self._cloud = _Factors()

    @property
    def up_bytes_per_s(self) -> float:
        """Uplink bandwidth, bytes/s.

        What was last seen loses its weight with time, to what is usual here: an outage is not believed
        in for ever, while a network that was always slow stays so.
        """
        weight = math.exp((self._seen_at - self._clock()) / _FORGET_S)
        recent = math.log(max(self._up.value, 1.0))
        return math.exp(weight * recent + (1 - weight) * self._usual_log_up)

    @property
    def up_mbps(self) -> float:
        """Uplink bandwidth, Mbit/s."""
        return self.up_bytes_per_s / 125_000

    @property
    def rtt_s(self) -> float:
        """Round trip, s."""
        return self._rtt_s

    @property
    def queue_s(self) -> float:
        """Waiting time in the server, s."""
        return self._queue_s.value

    def edge_s(self, cut: CutRecord) -> float:
        """Time of a cut's edge half, s."""
        return cut.edge_s * self._edge.of(cut.name) if cut.signature else 0.0

    def cloud_s(self, cut: CutRecord) -> float:
        """Time of a cut's cloud half, s."""
        return cut.cloud_s * self._cloud.of(cut.name)

    def send_s(self, cut: CutRecord) -> float:
        """Time of what a cut sends on the uplink, s."""
        return cut.up_bytes / self.up_bytes_per_s

    def receive_s(self, cut: CutRecord) -> float:
        """Time of a cut's answer on the downlink, s."""
        return cut.down_bytes / (self.up_bytes_per_s * self._down_per_up)

    def latency_s(self, cut: CutRecord) -> float:
        """Time of a whole request, s."""
        edge_s = self.edge_s(cut)
        if cut.cloud_model is None:
            return edge_s
        network_s = self.rtt_s + self.send_s(cut) + self.receive_s(cut)
        return edge_s + network_s + self.queue_s + self.cloud_s(cut)

    def observe(self, cut: CutRecord, phases: Phases, sent_bytes: int, received_bytes: int) -> bool:
        """Take in how a request went; True if the network is seen to have changed."""
        if cut.signature:
            self._edge.observe(cut.name, phases.edge_s, cut.edge_s)
        if cut.cloud_model is None:
            return False
        self._cloud.observe(cut.name, phases.compute_s, cut.cloud_s)
        self._queue_s.add(phases.queue_s)
        return self._observe_network(phases, sent_bytes + received_bytes / self._down_per_up)

    def observe_timeout(self, cut: CutRecord, seconds: float) -> bool:
        """Take in that a request was not answered in this time; True if the network seems to have changed.

        The bandwidth was at most what would have sufficed.
        """
        at_most = (cut.up_bytes + cut.down_bytes / self._down_per_up) / max(seconds, 1e-6)
        return self._see(at_most) if at_most < self.up_bytes_per_s else False

    def observe_rtt(self, seconds: float) -> None:
        """Take in how long a request of a few bytes took on a network that may have changed."""
        self._rtt_s = seconds

    def _observe_network(self, phases: Phases, equivalent_bytes: float) -> bool:
        if equivalent_bytes < INFORMATIVE_BYTES:
            return False
        seconds = phases.network_s + phases.receive_s
        # What is below the round trip is noise of the same size as the round trip's own.
        moving_s = max(seconds - self.rtt_s, 0.1 * seconds, 1e-6)
        return self._see(equivalent_bytes / moving_s)

    def _see(self, bytes_per_s: float) -> bool:
        self._seen_at = self._clock()
        self._seen += 1
        weight = max(1 / (self._seen + 1), _USUAL)
        self._usual_log_up += weight * (math.log(max(bytes_per_s, 1.0)) - self._usual_log_up)
        return self._up.add(bytes_per_s)


class _Factors:
    """How much longer than predicted cuts take: one factor for the machine, one correction for each cut."""

    def __init__(self) -> None:
        self._common = Level(1.0)
        self._own: dict[str, float] = {}

    def of(self, cut: str) -> float:
        return self._common.value * self._own.get(cut, 1.0)

    def observe(self, cut: str, seconds: float, predicted_s: float) -> None:
        if predicted_s <= 0 or seconds <= 0:
            return
        ratio = seconds / predicted_s
        if not self._own:
            self._own[cut] = 1.0
            self._common.add(ratio)
            return
        if cut not in self._own:
            # Its first run tells about the cut; that the machine changed just now is less likely.
            self._own[cut] = ratio / self._common.value
            return
        self._common.add(ratio / self._own[cut])
        error = ratio / self.of(cut)
        self._own[cut] *= error**_LEARN if 0.5 < error < 2 else 1.0
