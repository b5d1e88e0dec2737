"""Predicts times from the figures of a device: a roofline per kind of operator and precision.

The time of a group is ``fixed + macs / (peak * compute efficiency) + bytes / (bandwidth * memory
efficiency)``, and, on devices that were measured, so much for each sum over channels, for each position of a
kernel, and for weights, results and what no cache holds. Arithmetic and traffic are added, not overlapped:
the sum is at most twice the usual roofline's maximum, it is what small operators on real devices show, and it
is linear in what ``edgecut profile --fit`` has to find.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from edgecut.ir import typed
from edgecut.ir.annotations import Conditions, Time
from edgecut.ir.work import Work
from edgecut.profilers.result import GroupTimes
from edgecut.targets.figures import SPILL_BYTES
from edgecut.targets.spec import Compute, Device

MICRO = 1e-6
NANO = 1e-9
MEGA = 1e6
GIGA = 1e9


def predict(device: Device, groups: Mapping[str, Work], threads: int) -> GroupTimes:
    """Predict the time of every group, and of the whole, which is their sum.

    What a call costs besides its operators is spread over the groups in proportion to their time.

    Args:
        device: A device with ``compute`` figures.
        groups: Work by group id.
        threads: CPU threads; more than the device has cores count as all of them.
    """
    assert device.compute is not None, f"{device.name} has no figures to predict from"
    alone = {name: group_seconds(device, work, threads) for name, work in groups.items()}
    operators = sum(alone.values())
    scale = 1 + device.compute.call_us * MICRO / operators if operators else 1.0
    times = {name: Time(seconds * scale, "predicted") for name, seconds in alone.items()}
    error = device.compute.error.median if device.compute.error else None
    conditions = Conditions(key(device, threads), threads, operators_s=operators, error=error)
    return GroupTimes(times, Time(operators * scale, "predicted"), conditions)


def group_seconds(device: Device, work: Work, threads: int = 1) -> float:
    """Predicted seconds of one group."""
    compute = device.compute
    assert compute is not None, f"{device.name} has no figures to predict from"
    efficiency = compute.of(work.kind, work.precision)
    fixed = compute.op_us if efficiency.op_us is None else efficiency.op_us
    arithmetic = work.macs / (_peak(compute, work.precision) * GIGA * efficiency.compute)
    traffic = work.bytes / (compute.bandwidth_gbs * GIGA * efficiency.memory)
    loops = (work.loops * efficiency.loop_ns + work.taps * efficiency.tap_ns) * NANO
    spilt = max(work.bytes - SPILL_BYTES, 0)
    costly = (
        work.weight_bytes * efficiency.weight_us_per_mb
        + work.output_bytes * efficiency.output_us_per_mb
        + spilt * efficiency.spill_us_per_mb
    )
    return fixed * MICRO + (arithmetic + traffic + loops + costly * MICRO / MEGA) / speedup(device, threads)


def speedup(device: Device, threads: int) -> float:
    """How much faster ``threads`` threads are than one whole core (Amdahl); a part of a core is slower."""
    parallel = device.compute.parallel if device.compute else 0.0
    cores = min(float(threads), device.cores)
    return cores if cores <= 1 else 1 / (1 - parallel + parallel / cores)


def key(device: Device, threads: int) -> str:
    """Fingerprint of all that predictions for a device depend on, besides the program."""
    return hashlib.sha256(f"{typed.dumps(device)}\0{threads}".encode()).hexdigest()[:16]


def _peak(compute: Compute, precision: str) -> float:
    return compute.peak_gmacs.get(precision, compute.peak_gmacs["float32"])
