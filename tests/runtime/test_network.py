"""Device and server in two network namespaces, the kernel's rate limit and a proxy's delay between them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RTT_S = 0.04


@pytest.fixture
def lab(netlab: ModuleType) -> Iterator[Any]:
    with netlab.lab() as made:
        yield made


class Requests:
    """A device's process, asked for some requests at a time."""

    def __init__(self, lab: Any, root: Path, build: Path, url: str, *options: str) -> None:
        command = (sys.executable, root / "benchmarks" / "slow_device.py", build, url, *options)
        self.process = lab.open(lab.device, *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Requests:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def make(self, count: int) -> list[dict[str, Any]]:
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return [json.loads(self.process.stdout.readline()) for _ in range(count)]


@pytest.mark.parametrize("policy", ["feedback", "table"])
def test_steps_of_the_bandwidth_are_followed_within_three_requests(
    lab: Any, root: Path, stepwise_build: Path, policy: str
) -> None:
    """Each cut is the best by a factor of 1.4 or more at its rate.

    Times are real, and so is whatever else this machine does: one of three attempts has to succeed.
    """
    misses = []
    for _ in range(3):
        missed = steps_not_followed(lab, root, stepwise_build, policy)
        if not missed:
            return
        misses.append(missed)
    busy_machine_is_no_evidence()
    pytest.fail(f"at these rates, these cuts were used: {misses}")


def steps_not_followed(lab: Any, root: Path, build: Path, policy: str) -> dict[float, list[str]]:
    """Cuts of the requests after each step that was not followed."""
    missed = {}
    with (
        lab.service(build, delay_s=RTT_S / 2) as url,
        Requests(lab, root, build, url, "--policy", policy) as requests,
    ):
        lab.limit(4)
        requests.make(12)
        for mbps, expected in ((60, "cloud-only"), (0.4, "edge-only"), (60, "cloud-only"), (4, "r1")):
            lab.limit(mbps)
            used = [r["cut"] for r in requests.make(9)]
            # The first three may still be others; a single trial of another cut is allowed after that.
            if used[3:].count(expected) < 5:
                missed[mbps] = used
    return missed


def busy_machine_is_no_evidence() -> None:
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > 2 * cores:
        pytest.skip(f"the machine is too busy to time anything (load {load:.1f} on {cores} cores)")


def test_virtual_link_takes_as_long_as_a_real_one(
    lab: Any, root: Path, stepwise_build: Path, trace_world: ModuleType
) -> None:
    """The link of the benchmarks' simulation against tbf, both following 12 s of a recorded bus ride.

    Within 10 % in the mean: a step of the rate falls into a request at another byte, and the two busy cores
    of a test machine add milliseconds to some.
    """
    link = (
        trace_world.load(trace_world.TRACES / "hsdpa_norway_bus_1.csv")
        if trace_world.TRACES.is_dir()
        else None
    )
    if link is None:
        pytest.skip("the model zoo is not on this machine")
    for _ in range(3):
        measured, predicted = follow(lab, root, stepwise_build, trace_world, link)
        ratio = statistics.mean(measured) / statistics.mean(predicted)
        if len(measured) >= 30 and 0.9 < ratio < 1.1:
            return
    busy_machine_is_no_evidence()
    pytest.fail(f"{len(measured)} requests took {ratio:.2f} of the simulated time")


def follow(
    lab: Any, root: Path, build: Path, trace_world: ModuleType, link: Any
) -> tuple[list[float], list[float]]:
    """Seconds of requests with the cut r1, measured, and as the simulation takes them at the same moments."""
    from edgecut.ir import manifest

    world = trace_world.World(manifest.read(build), link, rtt_s=RTT_S, noise=0.0)
    record = world.manifest.cut("r1")
    with (
        lab.service(build, delay_s=RTT_S / 2) as url,
        Requests(lab, root, build, url, "--cut", "r1") as requests,
    ):
        lab.limit(link.rate(0.0) / 125_000)
        requests.make(3)
        requests.process.stdin.write("200\n")
        requests.process.stdin.flush()
        start = time.perf_counter()
        changes = [t for t in link.times if t < 12.0]
        for at in changes:
            time.sleep(max(start + at - time.perf_counter(), 0.0))
            lab.limit(link.rate(at) / 125_000)
        time.sleep(max(start + 12.0 - time.perf_counter(), 0.0))
        requests.process.kill()
        lines = requests.process.stdout.read().splitlines()
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    inside = [row for row in rows if row["at"] >= start]
    return [r["seconds"] for r in inside], [world.phases(record, r["at"] - start).total_s for r in inside]
