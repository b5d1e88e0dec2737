"""What a profile of one TFLite file on one machine is, as it is written to ``profile.json``.

Runs on the device: standard library, Python 3.9.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

SCHEMA = 1


@dataclass(frozen=True)
class Stats:
    """Repeated timings of one thing, in seconds; far-off runs are counted and left out."""

    median_s: float
    min_s: float
    p90_s: float
    spread: float
    """Range of the medians of stretches of runs, one after the other, over the median of all."""
    runs: int
    outliers: int
    interrupted: int = 0
    """Runs from which the system took the processor away for a while."""


@dataclass(frozen=True)
class OperatorTime:
    """One kernel as the runtime's own profiler saw it, in order of execution."""

    name: str
    """The runtime's name of the kernel, such as ``Convolution (NHWC, F32) IGEMM``."""
    seconds: float
    """Mean of the runs, but for pauses of the scheduler."""
    delegated: bool
    """Whether XNNPACK ran it (else TFLite's own kernels)."""
    node: int
    """Number of the node: TFLite's, or XNNPACK's own within its partition."""
    partition: int
    """Which stretch of delegated operators it stands in."""


@dataclass(frozen=True)
class SignatureTimes:
    """One signature of the file."""

    name: str
    whole: Stats
    first_s: float
    """The first inference after loading."""
    operators: tuple[OperatorTime, ...] = ()
    """Empty where the runtime's profiler is not usable; `note` says why."""
    profiled_s: float = 0.0
    """Median of a whole inference while operators were timed."""
    note: str = ""


@dataclass(frozen=True)
class Machine:
    """Where it was measured, and in which state."""

    name: str
    """Model of the CPU or board."""
    architecture: str
    system: str
    cores: int
    memory_mb: int = 0
    governor: str = ""
    mhz: Optional[float] = None
    celsius: Optional[float] = None
    celsius_after: Optional[float] = None


@dataclass(frozen=True)
class FileProfile:
    """A whole profile."""

    schema: int
    file: str
    sha256: str
    runtime: str
    """Package and version."""
    threads: int
    load_s: float
    """Reading the file and preparing its kernels."""
    memory_bytes: int
    """Peak memory of the process above what it took before loading."""
    machine: Machine
    signatures: tuple[SignatureTimes, ...] = field(default_factory=tuple)
