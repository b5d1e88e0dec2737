"""Counters and histograms of the server, in the text format that Prometheus reads."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Labels = tuple[tuple[str, str], ...]


class Counter:
    """A figure that only grows, one for each set of labels."""

    kind = "counter"

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self._values: defaultdict[Labels, float] = defaultdict(float)

    def add(self, amount: float = 1.0, **labels: str) -> None:
        """Let it grow."""
        self._values[tuple(labels.items())] += amount

    def lines(self) -> list[str]:
        """Its samples."""
        return [f"{self.name}{_shown(labels)} {value:g}" for labels, value in sorted(self._values.items())]


class Histogram:
    """How many durations, in seconds, were up to each of some bounds."""

    kind = "histogram"

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self._counts: defaultdict[Labels, list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS_S) + 1))
        self._sums: defaultdict[Labels, float] = defaultdict(float)

    def observe(self, seconds: float, **labels: str) -> None:
        """Count a duration."""
        key = tuple(labels.items())
        self._counts[key][bisect_left(_BOUNDS_S, seconds)] += 1
        self._sums[key] += seconds

    def lines(self) -> list[str]:
        """Its samples."""
        found = []
        for labels, counts in sorted(self._counts.items()):
            total = 0
            for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), counts):
                total += count
                found.append(f"{self.name}_bucket{_shown((*labels, ('le', bound)))} {total}")
            found.append(f"{self.name}_sum{_shown(labels)} {self._sums[labels]:.9g}")
            found.append(f"{self.name}_count{_shown(labels)} {total}")
        return found


class Metrics:
    """All figures of one server. Any thread may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = Counter("edgecut_requests_total", "Inference requests, by model and HTTP status.")
        self._received = Counter("edgecut_received_bytes_total", "Bytes of request bodies.")
        self._sent = Counter("edgecut_sent_bytes_total", "Bytes of response bodies.")
        self._queue = Histogram("edgecut_queue_seconds", "Time that requests waited for their model.")
        self._compute = Histogram("edgecut_compute_seconds", "Time that models took, for a whole batch.")
        self._batched = Counter(
            "edgecut_batches_total", "Runs of models; requests per run is the batch size."
        )

    def refused(self, model: str, status: int) -> None:
        """Count a request that got no answer from its model."""
        with self._lock:
            self._requests.add(model=model, status=str(status))

    def answered(self, model: str, received: int, sent: int, queue_s: float, compute_s: float) -> None:
        """Count a request that was answered."""
        with self._lock:
            self._requests.add(model=model, status="200")
            self._received.add(received, model=model)
            self._sent.add(sent, model=model)
            self._queue.observe(queue_s, model=model)
            self._compute.observe(compute_s, model=model)

    def ran(self, model: str) -> None:
        """Count a run of a model."""
        with self._lock:
            self._batched.add(model=model)

    def text(self, waiting: int) -> str:
        """Everything, as Prometheus reads it.

        Args:
            waiting: Requests that are in the server now.
        """
        families = (self._requests, self._received, self._sent, self._queue, self._compute, self._batched)
        lines = ["# HELP edgecut_pending Requests that wait or run now.", "# TYPE edgecut_pending gauge"]
        lines.append(f"edgecut_pending {waiting}")
        with self._lock:
            for family in families:
                lines += [f"# HELP {family.name} {family.text}", f"# TYPE {family.name} {family.kind}"]
                lines += family.lines()
        return "\n".join(lines) + "\n"


def _shown(labels: Labels) -> str:
    pairs = (f'{key}="{_escaped(value)}"' for key, value in labels)
    return "{" + ",".join(pairs) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
