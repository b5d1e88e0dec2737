"""A device, a server, and a link that follows a recorded trace, in virtual time.

The runtime's own `Session` is driven through it: policy, estimates, breaker and time limits are the real
ones, and see what they see on a device, the stamps of each request's phases and nothing else.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecut.ir.manifest import CutRecord, Manifest
from edgecut.runtime.client import CloudError
from edgecut.runtime.device import Answer, Phases
from edgecut.runtime.probe import PROBE_S, Probe

TRACES = Path(__file__).resolve().parent.parent.parent / "shared" / "zoo" / "traces"


HEAD_BYTES = 250
"""HTTP headers of a request or an answer."""


class Link:
    """What a trace lets through, in bytes, as a function of time; the trace repeats at its end.

    Args:
        times: Seconds at which each rate begins, ascending.
        mbps: Mbit/s from then on.
    """

    def __init__(self, times: list[float], mbps: list[float]) -> None:
        self._at = self.times = [t - times[0] for t in times]
        last = self._at[-1] - self._at[-2] if len(times) > 1 else 1.0
        self.duration_s = self._at[-1] + last
        self._rate = [m * 125_000 for m in mbps]
        widths = np.diff([*self._at, self.duration_s])
        self._sum = [0.0, *np.cumsum(widths * np.array(self._rate)).tolist()]

    def rate(self, now: float) -> float:
        """Bytes/s at a moment."""
        return self._rate[bisect_right(self._at, now % self.duration_s) - 1]

    def arrival(self, start: float, size: float) -> float:
        """When the last of some bytes arrives of which the first is sent at ``start``."""
        round_, now = divmod(start, self.duration_s)
        k = bisect_right(self._at, now) - 1
        goal = self._sum[k] + (now - self._at[k]) * self._rate[k] + size
        more, goal = divmod(goal, self._sum[-1])
        k = min(bisect_right(self._sum, goal) - 1, len(self._rate) - 1)
        while self._rate[k] == 0:
            k += 1
        within = self._at[k] + (goal - self._sum[k]) / self._rate[k]
        return (round_ + more) * self.duration_s + within


def load(path: Path) -> Link:
    """A trace of the zoo: columns ``time_s`` and ``mbps``, the last rate of a moment counting."""
    rates: dict[float, float] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rates[float(row["time_s"])] = float(row["mbps"])
    times = sorted(rates)
    return Link(times, [rates[t] for t in times])


@dataclass(frozen=True)
class Draw:
    """By how much the parts of one request differ from the usual."""

    edge: float
    rtt: float
    cloud: float


class World:
    """Stands in for `Device`: runs requests in virtual time.

    Args:
        manifest: Its cuts' times and sizes are the true ones.
        link: Carries the requests, and the answers after them.
        rtt_s: Round trip without any bytes.
        noise: Relative standard deviation of each part's time.
    """

    server = "simulated"
    timeout_s = 30.0

    def __init__(self, manifest: Manifest, link: Link, *, rtt_s: float, noise: float = 0.05, seed: int = 0):
        self.manifest, self.link, self.rtt_s = manifest, link, rtt_s
        self.now = 0.0
        self._random = np.random.default_rng(seed)
        self._noise = noise
        self.draw = Draw(1.0, 1.0, 1.0)

    def clock(self) -> float:
        return self.now

    def next_request(self) -> None:
        """Draw what the next request will meet; all cuts would meet the same."""
        self.draw = Draw(*np.exp(self._random.normal(0, self._noise, 3)).tolist())

    def phases(self, cut: CutRecord, start: float) -> Phases:
        """What a request that starts now would take with a cut."""
        edge_s = cut.edge_s * self.draw.edge
        if cut.cloud_model is None:
            return Phases(edge_s=edge_s, total_s=edge_s)
        half_s, compute_s = self.rtt_s * self.draw.rtt / 2, cut.cloud_s * self.draw.cloud
        sent = self.link.arrival(start + edge_s, cut.up_bytes) + half_s
        done = self.link.arrival(sent + compute_s, cut.down_bytes) + half_s
        network_s = done - start - edge_s - compute_s
        return Phases(edge_s, 0.0, network_s, 0.0, compute_s, 0.0, done - start)

    def attempt(
        self, inputs: Mapping[str, np.ndarray], cut: str, *, timeout_s: float, request_id: str = ""
    ) -> Answer:
        """As `Device.attempt`."""
        record = self.manifest.cut(cut)
        phases = self.phases(record, self.now)
        if record.cloud_model is not None and phases.total_s > timeout_s:
            self.now += max(timeout_s, phases.edge_s)
            raise CloudError("is too slow", where=self.server, kind="timeout")
        self.now += phases.total_s
        return Answer({}, cut, phases, record.up_bytes, record.down_bytes if record.cloud_model else 0)


class TraceProber:
    """Stands in for `BackgroundProber`: its probes take their time on the link, beside the request.

    They take no bandwidth from it: beside a cut that sends nothing there is none to take.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._found: tuple[float, Probe] | None = None

    def start(self, size: int) -> bool:
        """As `BackgroundProber.start`."""
        if self._found is not None:
            return False
        world, start = self._world, self._world.now
        half_s = world.rtt_s * world.draw.rtt / 2
        there = world.link.arrival(start, HEAD_BYTES) + half_s
        back = world.link.arrival(there, HEAD_BYTES) + half_s
        rtt_s = back - start
        if rtt_s > PROBE_S:
            self._found = (start + PROBE_S, Probe(None, answered=False))
        elif not size:
            self._found = (back, Probe(rtt_s))
        else:
            seconds = world.link.arrival(back, size + HEAD_BYTES) + 2 * half_s - back
            answered = seconds <= PROBE_S
            took = min(seconds, PROBE_S)
            self._found = (back + took, Probe(rtt_s, size, took, answered))
        return True

    def take(self) -> Probe | None:
        """As `BackgroundProber.take`."""
        if self._found is None or self._found[0] > self._world.now:
            return None
        _, probe = self._found
        self._found = None
        return probe

    def close(self) -> None:
        """Nothing is open."""
