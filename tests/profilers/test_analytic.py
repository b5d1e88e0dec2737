"""Predictions follow the figures of the device."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecut.ir.work import Work
from edgecut.profilers import analytic
from edgecut.targets.figures import SPILL_BYTES
from edgecut.targets.spec import Compute, Device, Efficiency, load_device

CONV = Work("conv", "float32", 10**9, 10**8, 10**6)


@pytest.fixture
def device() -> Device:
    table = {
        "float32": {"default": Efficiency(0.5, 0.5), "conv": Efficiency(0.8, 0.4)},
        "int8": {"conv": Efficiency(0.4, 0.4, op_us=7)},
    }
    compute = Compute({"float32": 10.0, "int8": 40.0}, 5.0, op_us=20, efficiency=table)
    return Device("board", "a board", "edge", "litert", 4, 512, compute=compute)


def test_the_roofline_by_hand(device: Device) -> None:
    expected = 20e-6 + 1e9 / (10e9 * 0.8) + 1e8 / (5e9 * 0.4)
    assert analytic.group_seconds(device, CONV) == pytest.approx(expected, rel=1e-12)


def test_loops_taps_and_what_no_cache_holds_by_hand(device: Device) -> None:
    assert device.compute is not None
    part = Efficiency(0.8, 0.4, 0.0, loop_ns=2.0, tap_ns=5.0, weight_us_per_mb=3.0, output_us_per_mb=7.0,
                      spill_us_per_mb=11.0)  # fmt: skip
    costly = replace(device, compute=replace(device.compute, efficiency={"float32": {"conv": part}}))
    work = replace(CONV, output_bytes=2 * 10**6, loops=10**6, taps=10**4)
    roofline = 1e9 / (10e9 * 0.8) + 1e8 / (5e9 * 0.4)
    expected = roofline + 2e-3 + 5e-5 + 3e-6 + 14e-6 + 11e-6 * (1e8 - SPILL_BYTES) / 1e6
    assert analytic.group_seconds(costly, work) == pytest.approx(expected, rel=1e-12)


def test_a_kind_without_figures_takes_those_of_the_kind_that_it_is_like(device: Device) -> None:
    stem, view = replace(CONV, kind="stem"), replace(CONV, kind="view", macs=0)
    assert analytic.group_seconds(device, stem) == analytic.group_seconds(device, CONV)
    assert analytic.group_seconds(device, view) == pytest.approx(20e-6 + 1e8 / 2.5e9)  # by default


def test_precision_and_kind_choose_the_efficiency(device: Device) -> None:
    int8 = replace(CONV, precision="int8")
    assert analytic.group_seconds(device, int8) == pytest.approx(7e-6 + 1e9 / 16e9 + 1e8 / 2e9, rel=1e-12)
    pool = replace(int8, kind="pool", macs=0)  # int8 has no default here: float's is taken
    assert analytic.group_seconds(device, pool) == pytest.approx(20e-6 + 1e8 / 2.5e9, rel=1e-12)


def test_groups_add_up_to_the_whole_with_the_call(device: Device) -> None:
    assert device.compute is not None
    slow = replace(device, compute=replace(device.compute, call_us=1000))
    found = analytic.predict(slow, {"a": CONV, "b": replace(CONV, macs=0)}, 1)
    assert found.total is not None
    assert found.total.source == "predicted"
    assert sum(t.seconds for t in found.groups.values()) == pytest.approx(found.total.seconds, rel=1e-12)
    assert found.conditions.operators_s == pytest.approx(found.total.seconds - 1e-3, rel=1e-9)


def test_threads_help_as_far_as_cores_and_amdahl_go(device: Device) -> None:
    assert device.compute is not None
    half = replace(device, compute=replace(device.compute, parallel=0.5))
    assert analytic.speedup(half, 1) == 1
    assert analytic.speedup(half, 4) == pytest.approx(1 / (0.5 + 0.5 / 4))
    assert analytic.speedup(half, 64) == analytic.speedup(half, 4)
    assert analytic.speedup(replace(half, cores=0.25), 4) == 0.25
    one, four = (analytic.group_seconds(half, CONV, threads) for threads in (1, 4))
    assert (one - 20e-6) / (four - 20e-6) == pytest.approx(analytic.speedup(half, 4))


def test_the_key_tells_devices_and_threads_apart(device: Device) -> None:
    keys = {
        analytic.key(device, 1),
        analytic.key(device, 2),
        analytic.key(replace(device, memory_mb=1), 1),
    }
    assert len(keys) == 3


def test_published_latency_of_the_pi_is_met() -> None:
    """MobileNetV2-SSDLite is about 0.8 GMAC and 210 ms in float on one thread (the zoo's table)."""
    pi = load_device("raspberrypi4")
    work = Work("pointwise", "float32", 800_000_000, 80_000_000, 12_000_000)
    # The network is not only pointwise: within a factor of 1.5 is what one kind can tell.
    assert 0.210 / 1.5 < analytic.group_seconds(pi, work) < 0.210 * 1.5
