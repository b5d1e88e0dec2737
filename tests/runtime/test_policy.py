"""Cuts are chosen well on networks that change, from the stamps of each request's phases."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgecut.ir.errors import UsageError
from edgecut.ir.manifest import (
    CutRecord,
    Manifest,
    NetworkRecord,
    Prices,
    Sent,
    SourceRecord,
    TargetRecord,
)
from edgecut.runtime import policy
from edgecut.runtime.device import Phases
from edgecut.runtime.estimate import Estimates, Level
from edgecut.runtime.policy import Feedback, Fixed, Policy, Table
from edgecut.runtime.session import Session

RTT = 0.04


def cut(name: str, edge_s: float, cloud_s: float, up: int, low: float, high: float | None) -> CutRecord:
    signature = f"sig-{name}" if edge_s else None
    model = f"m-{name}" if cloud_s else None
    sends = (Sent("t", "int8", (up,)),) if cloud_s else ()
    return CutRecord(name, signature, model, sends, (), edge_s, cloud_s, up, 400, 0.1, low, high)


# Edge-only; an int8 tensor of 28x28x32; the raw input. They break even near 2 and 18 Mbit/s.
CUTS = (
    cut("bottleneck", 0.06, 0.004, 25_000, 2.1, 17.9),
    cut("edge-only", 0.20, 0.0, 0, 0.0, 2.1),
    cut("cloud-only", 0.0, 0.008, 150_000, 17.9, None),
)


def manifest() -> Manifest:
    return Manifest(
        schema_version=1, edgecut_version="0", model="m", source=SourceRecord("m.onnx", "0" * 64, "onnx"),
        inputs=(), outputs=(), edge_model=None, edge=TargetRecord("e", "measured"),
        cloud=TargetRecord("c", "measured"), network=NetworkRecord("n", 5.0, 10.0, RTT),
        objective="latency", cuts=CUTS, baselines=(), steps=(), files=(),
    )  # fmt: skip


class World:
    """A device, a network and a server, whose real figures may differ from the manifest's."""

    def __init__(self, seed: int = 0, noise: float = 0.05) -> None:
        self.mbps, self.rtt_s, self.edge, self.cloud, self.queue_s = 5.0, RTT, 1.0, 1.0, 0.0
        self.now = 0.0
        self._random = np.random.default_rng(seed)
        self._noise = noise

    def phases(self, record: CutRecord, *, exact: bool = False) -> Phases:
        def vary(seconds: float) -> float:
            return seconds if exact else seconds * float(self._random.lognormal(0, self._noise))

        edge_s = vary(record.edge_s * self.edge)
        if record.cloud_model is None:
            return Phases(edge_s=edge_s, total_s=edge_s)
        moving = (record.up_bytes + record.down_bytes / 2) * 8e-6 / max(self.mbps, 1e-3)
        network_s, compute_s = vary(self.rtt_s + moving), vary(record.cloud_s * self.cloud)
        total = edge_s + network_s + compute_s + self.queue_s
        return Phases(edge_s, 0.0, network_s, self.queue_s, compute_s, 0.0, total)


class Run:
    """A policy at work in a world."""

    def __init__(self, chooser: Policy, world: World) -> None:
        self.policy, self.world = chooser, world
        self.estimates = Estimates(manifest(), clock=lambda: world.now)

    def step(self) -> tuple[str, float]:
        """One request: the cut that was chosen, and the time it took."""
        record = self.policy.choose(CUTS, self.estimates)
        phases = self.world.phases(record)
        changed = self.estimates.observe(record, phases, record.up_bytes, record.down_bytes)
        if changed:
            self.estimates.observe_rtt(self.world.rtt_s)
        self.policy.observe(record, phases.total_s)
        self.world.now += phases.total_s
        return record.name, phases.total_s

    def steps(self, count: int) -> list[str]:
        return [self.step()[0] for _ in range(count)]


@pytest.mark.parametrize("make", [Feedback, Table])
@pytest.mark.parametrize(("before", "after", "expected"), [(5, 80, "cloud-only"), (80, 5, "bottleneck")])
def test_step_of_the_bandwidth_is_followed_within_three_requests(
    make: Callable[[], Policy], before: float, after: float, expected: str
) -> None:
    run = Run(make(), World())
    run.world.mbps = before
    run.steps(40)
    run.world.mbps = after
    run.steps(3)
    assert statistics.mode(run.steps(15)) == expected
    assert run.steps(1) == [expected]


def test_one_burst_changes_nothing() -> None:
    run = Run(Feedback(stale_after=10**6), World())
    run.steps(20)
    run.world.mbps = 0.3
    run.steps(1)
    run.world.mbps = 5.0
    assert set(run.steps(20)) == {"bottleneck"}


def test_slow_device_is_not_taken_for_a_slow_network() -> None:
    run = Run(Feedback(), World())
    run.steps(20)
    run.world.edge = 4.0
    run.steps(3)
    # The network is believed to be what it was, so what is left to the device shrinks.
    assert run.estimates.up_mbps == pytest.approx(5.0, rel=0.2)  # noise of 5 % per request, median of 9
    run.world.mbps = 30.0
    run.steps(6)
    assert statistics.mode(run.steps(15)) == "cloud-only"


def test_busy_server_is_not_taken_for_a_slow_network() -> None:
    run = Run(Feedback(), World())
    run.steps(20)
    run.world.queue_s = 0.5
    run.steps(3)
    assert run.estimates.up_mbps == pytest.approx(5.0, rel=0.2)  # as above
    assert statistics.mode(run.steps(15)) == "edge-only"


def test_similar_cuts_do_not_alternate() -> None:
    def switches(margin: float) -> int:
        run = Run(Feedback(margin=margin, stale_after=10**6), World(noise=0.15))
        run.world.mbps = 18.0  # where the two best cuts break even
        names = run.steps(300)
        return sum(a != b for a, b in itertools.pairwise(names))

    assert switches(0.1) < switches(0.0) / 2
    assert switches(0.3) <= 2


def simulated(world: Any, link: Any, **options: Any) -> tuple[Any, Session]:
    """A session whose device, server and link are virtual, as in ``benchmarks/bench_adapt.py``."""
    stand_in = world.World(options.pop("manifest", manifest()), link, rtt_s=RTT, seed=0)
    prober = world.TraceProber(stand_in)
    return stand_in, Session(stand_in, clock=stand_in.clock, prober=prober, **options)


def still() -> Policy:
    """The feedback policy without trials of other cuts."""
    return Feedback(stale_after=10**6)


def names(world: Any, session: Session, until: float) -> list[str]:
    """Cuts that requests are answered by, one after the other, until a time."""
    found = []
    while world.now < until:
        world.next_request()
        found.append(session.infer({}).cut)
    return found


@pytest.mark.parametrize("choose", [still, Table])
def test_network_that_recovers_is_used_by_the_third_request(
    trace_world: Any, choose: Callable[[], Policy]
) -> None:
    """On the edge-only cut nothing is sent, so only probes can tell."""
    world, session = simulated(trace_world, trace_world.Link([0, 60], [0.05, 10.0]), policy=choose())
    before = names(world, session, 60.0)
    assert before[20:].count("edge-only") > 0.97 * len(before[20:])
    after = names(world, session, 64.0)
    assert set(after[3:]) == {"bottleneck"}


def test_outage_costs_its_first_requests_no_more_than_patience(trace_world: Any) -> None:
    world, session = simulated(trace_world, trace_world.Link([0, 20, 60], [10.0, 0.0, 10.0]), policy=still())
    assert set(names(world, session, 19.0)[10:]) == {"bottleneck"}
    longest = 0.0
    while world.now < 58.0:
        world.next_request()
        start = world.now
        session.infer({})
        longest = max(longest, world.now - start)
    # 1.2 x (expected 0.12 s + edge-only 0.2 s), then edge-only; 5 % of noise.
    assert longest < 0.75


def test_energy_is_saved_where_it_is_what_counts(trace_world: Any) -> None:
    """A radio that draws much makes a fast link a bad choice; no probe is sent, since that draws too."""
    prices = Prices(edge_s=1.0, cloud_s=0.1, wait_s=0.1, send_s=0.1, receive_s=0.1, offload=2.0)
    dear = replace(manifest(), objective="energy", prices=prices)
    link = trace_world.Link([0, 1000], [50.0, 50.0])
    world, session = simulated(trace_world, link, manifest=dear)
    assert set(names(world, session, 20.0)[3:]) == {"edge-only"}
    assert session.estimates.up_mbps == pytest.approx(5.0)  # as the manifest says
    cheap = replace(dear, prices=replace(prices, offload=0.0))
    world, session = simulated(trace_world, link, manifest=cheap)
    assert names(world, session, 20.0)[-1] == "cloud-only"


def test_money_is_saved_where_it_is_what_counts(trace_world: Any) -> None:
    per_byte = replace(manifest(), objective="cost", prices=Prices(up_byte=1e-9, down_byte=1e-9))
    world, session = simulated(trace_world, trace_world.Link([0, 1], [50.0, 50.0]), manifest=per_byte)
    assert set(names(world, session, 20.0)[3:]) == {"edge-only"}


def test_throughput_is_the_slowest_stage(trace_world: Any) -> None:
    """At 2 Mbit/s sending the tensor takes 0.1 s, less than the 0.2 s of edge-only though the sum is more."""
    plan = replace(manifest(), objective="throughput")
    world, session = simulated(trace_world, trace_world.Link([0, 1], [2.0, 2.0]), manifest=plan)
    assert names(world, session, 20.0)[-1] == "bottleneck"


def test_prediction_that_is_wrong_for_one_cut_is_corrected() -> None:
    class Uneven(World):
        def phases(self, record: CutRecord, *, exact: bool = False) -> Phases:
            self.edge = 3.0 if record.name == "bottleneck" else 1.0
            return super().phases(record, exact=exact)

    run = Run(Feedback(), Uneven())
    run.world.mbps = 3.0
    assert statistics.mode(run.steps(400)[-50:]) == "edge-only"


def test_fixed_and_table() -> None:
    estimates = Estimates(manifest())
    assert Fixed().choose(CUTS[1:], estimates).name == "edge-only"
    assert Table().choose(CUTS, estimates).name == "bottleneck"
    assert Table().choose(CUTS[1:], estimates).name == "edge-only"


def test_unknown_policy_names_those_there_are() -> None:
    assert isinstance(policy.load("feedback"), Feedback)
    with pytest.raises(UsageError, match="feedback, fixed, table"):
        policy.load("clairvoyant")


def test_level_follows_a_change_and_ignores_an_outlier() -> None:
    level = Level(1.0, rise=10.0)
    for value in (10, 11, 9, 10, 50, 10, 11):
        level.add(value)
    assert level.value == 10
    assert [level.add(v) for v in (30, 31)] == [False, True]
    assert level.value == 30.5
    assert level.add(310)
    assert level.value == 310
