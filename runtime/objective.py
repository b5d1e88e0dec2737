"""What a request costs in the unit of the build's objective: seconds, joules, US dollars."""

from __future__ import annotations

from edgecut.ir.manifest import LATENCY, Manifest, Prices
from edgecut.runtime.device import Phases

THROUGHPUT = "throughput"


class Objective:
    """The objective of a build.

    Args:
        name: As in the manifest; ``throughput`` is the time of the slowest stage, everything else a sum.
        prices: Of what the sum adds up.
    """

    def __init__(self, name: str, prices: Prices) -> None:
        self.name = name
        self._prices = prices
        self.is_time = name == THROUGHPUT or prices == LATENCY
        """Whether nothing but time counts: then it costs nothing to send a few bytes beside a request."""

    def value(
        self,
        edge_s: float,
        cloud_s: float = 0.0,
        wait_s: float = 0.0,
        send_s: float = 0.0,
        receive_s: float = 0.0,
        up_bytes: int = 0,
        down_bytes: int = 0,
    ) -> float:
        """The cost of a request that takes these seconds and moves these bytes."""
        p = self._prices
        if not up_bytes:
            return edge_s if self.name == THROUGHPUT else p.edge_s * edge_s
        if self.name == THROUGHPUT:
            return max(edge_s, send_s, cloud_s, receive_s)
        return (
            p.edge_s * edge_s
            + p.cloud_s * cloud_s
            + p.wait_s * wait_s
            + p.send_s * send_s
            + p.receive_s * receive_s
            + p.up_byte * up_bytes
            + p.down_byte * down_bytes
            + p.offload
        )

    def of(self, phases: Phases, rtt_s: float, up_bytes: int, down_bytes: int) -> float:
        """The cost of a request that was answered."""
        moving_s = max(phases.network_s - rtt_s, 0.0)
        wait_s = phases.network_s - moving_s + phases.queue_s
        edge_s, receive_s = phases.edge_s + phases.encode_s, phases.receive_s
        return self.value(edge_s, phases.compute_s, wait_s, moving_s, receive_s, up_bytes, down_bytes)


def of_build(manifest: Manifest) -> Objective:
    """The objective of a build; latency where the manifest has no prices for what it names."""
    if manifest.prices is None and manifest.objective != THROUGHPUT:
        return Objective("latency", LATENCY)
    return Objective(manifest.objective, manifest.prices or LATENCY)
