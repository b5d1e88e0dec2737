"""What the last requests tell about the network, the device and the server.

Every phase of a request has its own stamp, so that each estimate is fed by its own phase: a slow device
shows in the edge phase, a busy server in its queue, and neither is taken for a slow network.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence

from edgecut.ir.manifest import CutRecord, Manifest
from edgecut.runtime import objective
from edgecut.runtime.device import Answer, Phases
from edgecut.runtime.sending import Link

INFORMATIVE_BYTES = 2048
"""Fewer bytes take about one round trip on any network: they say nothing about its bandwidth."""
_LEARN = 0.2
_USUAL = 0.03
_FORGET_S = 4.0
_RESERVE = 1.25
"""Times longer than usual the server and the way back may take."""


class Level:
    """The level of a noisy series: a median, which starts anew where the level has changed.

    One outlier does not move it, and two in the same direction do: a change is followed by the third
    value after it.

    Args:
        start: Level before anything has been seen.
        window: Values that the median is taken of.
        step: Factor from which on a difference is a change.
        rise: Factor from which on a single higher value is one: bytes arrive late by accident, but never
            early.
    """

    def __init__(self, start: float, *, window: int = 9, step: float = 1.5, rise: float = math.inf) -> None:
        self.value = start
        """The level."""
        self._step = step
        self._rise = rise
        self._values: deque[float] = deque(maxlen=window)

    def add(self, value: float) -> bool:
        """Take a value in; True if the level is seen to have changed."""
        self._values.append(value)
        risen = len(self._values) > 1 and value > self._rise * self.value
        changed = risen or (len(self._values) > 2 and self._is_change(*self._values))
        if changed:
            kept = (value,) if risen else (self._values[-2], value)
            self._values.clear()
            self._values.extend(kept)
        self.value = statistics.median(self._values)
        return changed

    def restart(self, value: float) -> None:
        """Forget what was seen before, and begin with this value."""
        self._values.clear()
        self._values.append(value)
        self.value = value

    def _is_change(self, *values: float) -> bool:
        *before, last, newest = values
        level = statistics.median(before)
        return min(last, newest) > level * self._step or max(last, newest) * self._step < level


class Estimates:
    """Estimates for one build, device, network and server.

    Args:
        manifest: Its figures are what is believed before anything has been seen.
        clock: Seconds, never going back.
    """

    def __init__(self, manifest: Manifest, *, clock: Callable[[], float] = time.monotonic) -> None:
        network = manifest.network
        self.objective = objective.of_build(manifest)
        self._down_per_up = network.down_mbps / network.up_mbps if network.up_mbps else 1.0
        self._clock = clock
        self._up = Level(network.up_mbps * 125_000, window=5, step=1.6, rise=2.0)
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

    def latency_s(self, cut: CutRecord) -> float:
        """Time of a whole request, s."""
        return sum(self._parts(cut, self.up_bytes_per_s))

    def link(self, cut: CutRecord) -> Link:
        """The way to the server, with what follows there on a cut's last byte."""
        bytes_per_s = self.up_bytes_per_s
        _, cloud_s, wait_s, _, receive_s = self._parts(cut, bytes_per_s)
        return Link(bytes_per_s, self._rtt_s, _RESERVE * (cloud_s + wait_s + receive_s))

    def values(self, cuts: Sequence[CutRecord]) -> list[float]:
        """What a request is expected to cost with each of some cuts."""
        bytes_per_s = self.up_bytes_per_s
        value = self.objective.value
        return [value(*self._parts(cut, bytes_per_s), cut.up_bytes, cut.down_bytes) for cut in cuts]

    def _parts(self, cut: CutRecord, bytes_per_s: float) -> tuple[float, float, float, float, float]:
        """Seconds of the edge half, of the cloud half, of waiting, of sending, and of receiving."""
        edge_s = self.edge_s(cut)
        if cut.cloud_model is None:
            return edge_s, 0.0, 0.0, 0.0, 0.0
        send_s = cut.up_bytes / bytes_per_s
        receive_s = cut.down_bytes / (bytes_per_s * self._down_per_up)
        return edge_s, self.cloud_s(cut), self._rtt_s + self._queue_s.value, send_s, receive_s

    def observe(self, cut: CutRecord, phases: Phases, sent_bytes: int, received_bytes: int) -> bool:
        """Take in how a request went; True if the network is seen to have changed."""
        if cut.signature:
            self._edge.observe(cut.name, phases.edge_s, cut.edge_s)
        if cut.cloud_model is None:
            return False
        self._cloud.observe(cut.name, phases.compute_s, cut.cloud_s)
        self._queue_s.add(phases.queue_s)
        return self._observe_network(phases, sent_bytes + received_bytes / self._down_per_up)

    def value_of(self, answer: Answer) -> float:
        """What an answered request has cost, in the unit of the build's objective."""
        sizes = (answer.sent_bytes, answer.received_bytes)
        return self.objective.of(answer.phases, self._rtt_s, *sizes)

    def observe_timeout(self, cut: CutRecord, seconds: float) -> bool:
        """Take in that a request was not answered in this time; True if the network seems to have changed.

        The bandwidth was less than what would have sufficed, which is believed at once: if it was a mere
        hiccup, the next probe says so and has cost little, while another attempt would cost much.
        """
        sufficient = (cut.up_bytes + cut.down_bytes / self._down_per_up) / max(seconds, 1e-6)
        if sufficient >= self.up_bytes_per_s:
            return False
        self._up.restart(sufficient / 2)
        return self._see(sufficient / 2)

    def observe_probe(self, size: int, seconds: float, answered: bool) -> None:
        """Take in how long some bytes took on their own way there, and whether they arrived at all."""
        moving_s = max(seconds - self.rtt_s, 0.1 * seconds, 1e-6) if answered else seconds
        bytes_per_s = size / moving_s
        if answered or bytes_per_s < self.up_bytes_per_s:
            self._see(bytes_per_s)

    def observe_rtt(self, seconds: float) -> None:
        """Take in how long a request of a few bytes took on a network that may have changed."""
        self._rtt_s = seconds

    def _observe_network(self, phases: Phases, equivalent_bytes: float) -> bool:
        seconds = phases.network_s + phases.receive_s
        self._rtt_s = min(self._rtt_s, seconds)
        if equivalent_bytes < INFORMATIVE_BYTES:
            return False
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
