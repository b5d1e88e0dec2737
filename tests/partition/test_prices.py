"""The prices in a plan add up to what the objective costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from edgecut.passes.partition import objective
from edgecut.passes.partition.objective import Family, Situation
from edgecut.passes.partition.prices import prices
from edgecut.passes.partition.problem import Totals
from edgecut.targets.spec import load_device, load_network

AT = Situation(load_network("4g"), load_device("raspberrypi4"), load_device("x86-vm"))


@pytest.mark.parametrize(
    "pricing",
    [
        objective.latency,
        objective.energy,
        objective.cost,
        partial(objective.weighted, weights={"latency": 1.0, "energy": 0.5, "cost": 100.0}),
    ],
)
def test_prices_add_up_to_the_objective(pricing: Callable[[Situation], Family]) -> None:
    edge_s, cloud_s, up, down = 0.2, 0.03, 40_000, 4_000
    totals = Totals(edge_s, cloud_s, up, down, True)
    p, network = prices(pricing, AT), AT.network
    parts = (
        p.edge_s * edge_s,
        p.cloud_s * cloud_s,
        p.wait_s * network.rtt_s,
        p.send_s * up * objective.delay(network.up_mbps),
        p.receive_s * down * objective.delay(network.down_mbps),
        p.up_byte * up,
        p.down_byte * down,
        p.offload,
    )
    assert sum(parts) == pytest.approx(pricing(AT).at(AT.delay).price(totals), rel=1e-9)
