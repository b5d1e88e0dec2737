"""An objective's prices taken apart, so that a runtime can add them up again for what it measures."""

from collections.abc import Callable
from dataclasses import replace

from edgecut.ir.manifest import Prices
from edgecut.passes.partition.objective import BITS_PER_MEGABYTE, Family, Rates, Situation


def prices(pricing: Callable[[Situation], Family], at: Situation) -> Prices:
    """What an objective pays for each part of a request.

    Every objective that is a sum is linear in the round trip and in the time of a byte either way, so a few
    values of it tell all.

    Args:
        pricing: The objective.
        at: Device, server and network.
    """

    def rates(rtt_ms: float, down_mbps: float) -> Rates:
        network = replace(at.network, rtt_ms=rtt_ms, down_mbps=down_mbps)
        return pricing(replace(at, network=network, load=1.0)).fixed

    still, waiting, faster = rates(0.0, 1.0), rates(1000.0, 1.0), rates(0.0, 2.0)
    # A byte received costs something, and its time, which is half at twice the rate.
    half_time = still.down_byte - faster.down_byte
    return Prices(
        edge_s=still.edge_s,
        cloud_s=still.cloud_s,
        wait_s=waiting.offload - still.offload,
        send_s=pricing(at).slope.up_byte,
        receive_s=2 * half_time / BITS_PER_MEGABYTE,
        up_byte=still.up_byte,
        down_byte=still.down_byte - 2 * half_time,
        offload=still.offload,
    )
