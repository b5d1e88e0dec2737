"""A stream of requests: each on the cut that is best now, each answered whatever becomes of the server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Optional

import numpy as np

from edgecut.ir.errors import EdgecutError
from edgecut.ir.manifest import CutRecord
from edgecut.runtime.breaker import Breaker
from edgecut.runtime.cache import AnswerCache
from edgecut.runtime.client import CloudError
from edgecut.runtime.device import Answer, Device, Phases
from edgecut.runtime.estimate import Estimates
from edgecut.runtime.outbox import Outbox
from edgecut.runtime.policy import Feedback, Policy

_RESERVE = 1.5
"""The edge-only cut is started so early that it may take this many times its usual time."""
_PING_S = 60.0


class Session:
    """Runs requests through a device, adapting the cut and surviving the loss of the server.

    Args:
        device: Runs single cuts.
        policy: Chooses the cut.
        deadline_s: Seconds that a request may take; the device's time limit if None.
        breaker: Decides when a failing server is left alone.
        cache: Answers to inputs seen before; None computes each.
        outbox: Where requests wait that cannot be answered now; None gives the error to the caller.
    """

    def __init__(
        self,
        device: Device,
        *,
        policy: Optional[Policy] = None,
        deadline_s: Optional[float] = None,
        breaker: Optional[Breaker] = None,
        cache: Optional[AnswerCache] = None,
        outbox: Optional[Outbox] = None,
    ) -> None:
        self.device = device
        self.estimates = Estimates(device.manifest)
        self._policy = policy or Feedback()
        self._deadline_s = device.timeout_s if deadline_s is None else deadline_s
        self._breaker = breaker or Breaker()
        self._cache = cache
        self._outbox = outbox
        self._cuts = device.manifest.cuts
        self._local = next((cut for cut in self._cuts if cut.cloud_model is None), None)
        self._pinged_at = float("-inf")
        self._counts: Counter[str] = Counter()

    def infer(self, inputs: Mapping[str, np.ndarray], request_id: str = "") -> Answer:
        """Answer a request.

        Raises:
            ModelError: The inputs do not fit the model.
            CloudError: The server does not answer, and the build holds no cut that does without.
        """
        cached = self._cache.get(inputs) if self._cache else None
        if cached is not None:
            self._counts["cached"] += 1
            return Answer(cached, "", Phases(), cached=True)
        answer = self._compute(inputs, request_id)
        self._counts[f"cut {answer.cut}"] += 1
        if self._cache:
            self._cache.put(inputs, answer.outputs)
        return answer

    def submit(self, inputs: Mapping[str, np.ndarray], request_id: str) -> Optional[Answer]:
        """Answer a request now, or keep it on disk; None if it was kept.

        Raises:
            CloudError: It can be neither answered nor kept, since there is no outbox.
            OutboxFullError: The outbox is full.
        """
        try:
            return self.infer(inputs, request_id)
        except CloudError:
            if self._outbox is None:
                raise
            self._outbox.put(request_id, inputs)
            self._counts["queued"] += 1
            return None

    def drain(self) -> Iterator[tuple[str, Answer]]:
        """Answer waiting requests, oldest first, until one fails or the server is to be left alone.

        A request is removed when the caller asks for the next: what is answered has been taken over.
        """
        outbox = self._outbox
        if outbox is None:
            return
        for request_id in outbox.ids():
            if not self._breaker.allows():
                return
            try:
                answer = self.infer(outbox.get(request_id), request_id)
            except CloudError:
                return
            except EdgecutError:  # damaged, or of another model: it would fail for ever
                outbox.reject(request_id)
                self._counts["rejected"] += 1
                continue
            yield request_id, answer
            outbox.remove(request_id)

    def status(self) -> dict[str, Any]:
        """Counts and estimates since the start, as plain data."""
        found: dict[str, Any] = {
            "server": self.device.server,
            "breaker_open": self._breaker.is_open,
            "up_mbps": self.estimates.up_mbps,
            "rtt_s": self.estimates.rtt_s,
            "queue_s": self.estimates.queue_s,
            "waiting": len(self._outbox) if self._outbox is not None else 0,
            "requests": dict(self._counts),
        }
        if self._cache:
            asked = self._cache.hits + self._cache.near_hits + self._cache.misses
            rate = (self._cache.hits + self._cache.near_hits) / asked if asked else 0.0
            found["cache"] = {"hit_rate": rate, "hits": self._cache.hits, "near_hits": self._cache.near_hits}
        return found

    def close(self) -> None:
        """Close the connection to the server."""
        self.device.close()

    def _compute(self, inputs: Mapping[str, np.ndarray], request_id: str) -> Answer:
        start = time.perf_counter()
        end = start + self._deadline_s
        reason = self._why_local()
        if self._local is not None and reason:
            return self._run_local(self._local, inputs, reason, end)
        cut = self._policy.choose(self._cuts, self.estimates)
        if cut.cloud_model is None:
            return self._run(cut, inputs, end, request_id)
        local = self._local
        try:
            self._refresh_rtt(end)
            answer = self._run(cut, inputs, end - self._reserve_s(), request_id)
        except CloudError as error:
            self._failed(cut, error, time.perf_counter() - start)
            if local is None:
                raise
            return self._run_local(local, inputs, error.what, end)
        self._breaker.succeeded()
        return answer

    def _failed(self, cut: CutRecord, error: CloudError, seconds: float) -> None:
        self._counts[f"failed {error.kind}"] += 1
        self._breaker.failed(error.retry_after_s)
        if error.kind == "timeout":
            self.estimates.observe_timeout(cut, seconds)

    def _why_local(self) -> str:
        """Why no cut that needs the server is to be tried; empty where one may be.

        Raises:
            CloudError: None may, and there is no other.
        """
        if self._local is None:
            if not self._breaker.allows():
                raise CloudError("is left alone after it failed", where=self.device.server, kind="refused")
            return ""
        if not self._breaker.allows():
            return "the server is left alone after it failed"
        if self._reserve_s() >= self._deadline_s:
            return "the deadline leaves no time to try the server first"
        return ""

    def _reserve_s(self) -> float:
        return _RESERVE * self.estimates.edge_s(self._local) if self._local else 0.0

    def _run_local(self, cut: CutRecord, inputs: Mapping[str, np.ndarray], reason: str, end: float) -> Answer:
        self._counts["fallback"] += 1
        return replace(self._run(cut, inputs, end, ""), fallback=reason)

    def _run(self, cut: CutRecord, inputs: Mapping[str, np.ndarray], end: float, request_id: str) -> Answer:
        left_s = end - time.perf_counter()
        answer = self.device.run(inputs, cut.name, timeout_s=left_s, request_id=request_id)
        changed = self.estimates.observe(cut, answer.phases, answer.sent_bytes, answer.received_bytes)
        if changed:
            self._pinged_at = float("-inf")
        self._policy.observe(cut, answer.phases.total_s)
        return answer

    def _refresh_rtt(self, end: float) -> None:
        """Measure the round trip where it is unknown, old, or doubted; a failure shows in the request."""
        now = time.perf_counter()
        if now - self._pinged_at < _PING_S:
            return
        self._pinged_at = now
        found = self.device.ping(max(end - self._reserve_s() - now, 1e-3))
        if found is not None:
            self.estimates.observe_rtt(found)
