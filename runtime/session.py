"""A stream of requests: each on the cut that is best now, each answered whatever becomes of the server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Optional, cast

import numpy as np

from edgecut.ir.errors import EdgecutError
from edgecut.ir.manifest import CutRecord
from edgecut.runtime import router
from edgecut.runtime.breaker import Breaker
from edgecut.runtime.cache import AnswerCache
from edgecut.runtime.client import CloudError
from edgecut.runtime.device import Answer, Device, Phases
from edgecut.runtime.estimate import Estimates
from edgecut.runtime.outbox import Outbox
from edgecut.runtime.policy import Feedback, Policy
from edgecut.runtime.probe import PROBE_BYTES, BackgroundProber, Prober
from edgecut.runtime.scout import Scout

_RESERVE = 1.5
"""The edge-only cut is started so early that it may take this many times its usual time."""
_PATIENCE = 1.2
"""A request may take this many times its expected time and that of the edge-only cut together."""


class Session:
    """Runs requests through a device, adapting the cut and surviving the loss of the server.

    Args:
        device: Runs single cuts.
        policy: Chooses the cut.
        deadline_s: Seconds that a request may take; the device's time limit if None.
        breaker: Decides when a failing server is left alone.
        cache: Answers to inputs seen before; None computes each.
        outbox: Where requests wait that cannot be answered now; None gives the error to the caller.
        hiccup_s: Seconds by which a request may always be later than expected before the edge-only cut
            answers in its place.
        probe_bytes: What is sent beside requests that send nothing, to see how the network is; 0: nothing.
        prober: Asks how the network is while the device computes; None uses a second connection.
        clock: Seconds, never going back.
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
        hiccup_s: float = 0.25,
        probe_bytes: int = PROBE_BYTES,
        prober: Optional[Prober] = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.device = device
        self.estimates = Estimates(device.manifest, clock=clock)
        self._clock = clock
        self._policy = policy or Feedback()
        self._deadline_s = device.timeout_s if deadline_s is None else deadline_s
        self._breaker = breaker or Breaker(clock=clock)
        self._cache = cache
        self._outbox = outbox
        self._cuts = device.manifest.cuts
        self._hiccup_s = hiccup_s
        self._local = next((cut for cut in self._cuts if cut.cloud_model is None), None)
        self._scout = Scout(
            prober or BackgroundProber(device.second_client()), self.estimates, clock=clock, size=probe_bytes
        )
        self._counts: Counter[str] = Counter()

    def infer(
        self, inputs: Mapping[str, np.ndarray], request_id: str = "", size: Optional[int] = None
    ) -> Answer:
        """Answer a request.

        Args:
            inputs: Every input of the model.
            request_id: Sent along, for the server's log.
            size: Bytes that the inputs had as they came (of the photograph, say, that they were scaled
                from), by which a router may send them straight to the cloud; those of the arrays if None.

        Raises:
            ModelError: The inputs do not fit the model.
            CloudError: The server does not answer, and the build holds no cut that does without.
        """
        cached = self._cache.get(inputs) if self._cache else None
        if cached is not None:
            self._counts["cached"] += 1
            return Answer(cached, "", Phases(), cached=True)
        size = sum(array.nbytes for array in inputs.values()) if size is None else size
        answer = self._compute(inputs, request_id, size)
        self._counts[f"cut {answer.cut}"] += 1
        if self._cache:
            self._cache.put(inputs, answer.outputs)
        return answer

    def submit(
        self, inputs: Mapping[str, np.ndarray], request_id: str, size: Optional[int] = None
    ) -> Optional[Answer]:
        """Answer a request now (see `infer`), or keep it on disk; None if it was kept.

        Raises:
            CloudError: It can be neither answered nor kept, since there is no outbox.
            OutboxFullError: The outbox is full.
        """
        try:
            return self.infer(inputs, request_id, size)
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
        """Close the connections to the server."""
        self._scout.close()
        self.device.close()

    def _compute(self, inputs: Mapping[str, np.ndarray], request_id: str, size: int) -> Answer:
        start = self._clock()
        end = start + self._deadline_s
        reason = self._why_local()
        if self._local is not None and reason:
            return self._run_local(self._local, inputs, reason, end)
        self._scout.report()
        cut = router.choose(self.device.manifest, size) or self._policy.choose(self._cuts, self.estimates)
        self._scout.send(cut)
        if cut.cloud_model is None:
            return self._run(cut, inputs, end, request_id)
        local = self._local
        try:
            answer = self._run(cut, inputs, self._until(cut, start, end), request_id)
        except CloudError as error:
            self._failed(cut, error, self._clock() - start)
            if error.answer is not None:
                self._counts["fallback"] += 1
                return cast(Answer, error.answer)
            if local is None:
                raise
            return self._run_local(local, inputs, error.what, end)
        if answer.sent_part < 1:
            self._counts["sent in part"] += 1
        if answer.sent_bytes:  # a router may not have asked
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

    def _until(self, cut: CutRecord, start: float, end: float) -> float:
        """When the server has had its time: what is left then is enough for the edge-only cut.

        A request that takes far longer than it should is given up even if the deadline is far: by then
        the edge-only cut would long have answered.
        """
        if self._local is None:
            return end
        expected_s = self.estimates.latency_s(cut)
        patience_s = _PATIENCE * (expected_s + self.estimates.edge_s(self._local))
        return min(end - self._reserve_s(), start + max(patience_s, expected_s + self._hiccup_s))

    def _run_local(self, cut: CutRecord, inputs: Mapping[str, np.ndarray], reason: str, end: float) -> Answer:
        self._counts["fallback"] += 1
        return replace(self._run(cut, inputs, end, ""), fallback=reason)

    def _run(self, cut: CutRecord, inputs: Mapping[str, np.ndarray], end: float, request_id: str) -> Answer:
        left_s = end - self._clock()
        more: dict[str, Any] = {}
        if any(sent.coding for sent in cut.sends):
            more["link"] = self.estimates.link(cut)
        answer = self.device.attempt(inputs, cut.name, timeout_s=left_s, request_id=request_id, **more)
        if self.estimates.observe(cut, answer.phases, answer.sent_bytes, answer.received_bytes):
            self._scout.doubt()
        self._policy.observe(cut, self.estimates.value_of(answer))
        return answer
