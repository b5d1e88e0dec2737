"""Describes the machine this runs on: CPU, governor, clock, temperature.

Runs on the device: standard library, Python 3.9. What a system does not tell is left empty.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from pathlib import Path
from typing import Optional

from edgecut.profilers.record import Machine

_CPU = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_BOARD = Path("/proc/device-tree/model")
_THERMAL = Path("/sys/class/thermal")


def describe() -> Machine:
    """The machine as it is now."""
    return Machine(
        name=_name(),
        architecture=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        cores=_cores(),
        memory_mb=_memory_mb(),
        governor=read(_CPU / "scaling_governor"),
        mhz=_mhz(),
        celsius=celsius(),
    )


def celsius() -> Optional[float]:
    """The hottest thermal zone, if there is any."""
    found = [read(zone / "temp") for zone in sorted(_THERMAL.glob("thermal_zone*"))]
    numbers = [float(text) / 1000 for text in found if text.lstrip("-").isdigit()]
    return max(numbers) if numbers else None


def peak_bytes() -> int:
    """Peak resident memory of this process so far."""
    # Linux carries ru_maxrss over from the process that started this one; its own high-water mark is exact.
    for line in read(Path("/proc/self/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak() -> bool:
    """Let the peak begin anew, at what this process holds now; False where the system cannot do that."""
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)  # else memory freed before would be used again, unseen
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _name() -> str:
    board = read(_BOARD).rstrip("\0")
    return board or _cpuinfo("model name") or _cpuinfo("Hardware") or platform.processor() or "unknown"


def _mhz() -> Optional[float]:
    khz = read(_CPU / "scaling_cur_freq")
    if khz.isdigit():
        return float(khz) / 1000
    text = _cpuinfo("cpu MHz")
    return float(text) if text else None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_mb() -> int:
    for line in read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0


def _cpuinfo(key: str) -> str:
    for line in read(Path("/proc/cpuinfo")).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def read(path: Path) -> str:
    """A file of the system, or nothing where it is not to be had."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
