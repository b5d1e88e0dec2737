"""The figures of targets, as tables of their files: compute, power, price, radio."""

from __future__ import annotations

from dataclasses import dataclass, field

LIKE = {
    "stem": "conv",
    "transposed": "conv",
    "wide": "depthwise",
    "vector": "dense",
    "view": "layout",
    "input": "elementwise",
}
"""The kind whose figures stand for those of a kind that has none."""
SPILL_BYTES = 1 << 19


@dataclass(frozen=True)
class Efficiency:
    """Which part of the peak one kind of operator reaches."""

    compute: float = 0.3
    """Of the peak arithmetic."""
    memory: float = 0.5
    """Of the memory bandwidth."""
    op_us: float | None = None
    """Microseconds that each operator costs before any work; None takes the device's."""
    loop_ns: float = 0.0
    """Nanoseconds that each sum over input channels costs besides its products."""
    tap_ns: float = 0.0
    """Nanoseconds that each position of a kernel costs, whatever the channels."""
    weight_us_per_mb: float = 0.0
    """Microseconds that each MB of weights costs besides its traffic."""
    output_us_per_mb: float = 0.0
    """The same for results."""
    spill_us_per_mb: float = 0.0
    """The same for each MB of an operator's traffic that is more than `SPILL_BYTES`, hence not in a cache."""

    @property
    def costs(self) -> tuple[float, ...]:
        """All that is a cost, and not a part of a peak."""
        most = self.weight_us_per_mb, self.output_us_per_mb, self.spill_us_per_mb
        return self.op_us or 0.0, self.loop_ns, self.tap_ns, *most


@dataclass(frozen=True)
class Error:
    """How far predictions were from measurements of models that the figures were not fitted on."""

    median: float
    """Median of |predicted - measured| / measured per operator."""
    p90: float
    """90th percentile of it."""
    whole_median: float
    """Median of the same for whole models."""
    samples: int
    """Operators that were compared."""
    of: str
    """What was measured, and how it was held out."""


@dataclass(frozen=True)
class Compute:
    """What times are predicted from: a roofline per kind of operator and precision."""

    peak_gmacs: dict[str, float]
    """Billions of multiply-accumulates per second of ONE core (or the whole accelerator), per precision."""
    bandwidth_gbs: float
    """GB/s that one core (or the accelerator) reads or writes."""
    op_us: float
    """Microseconds that each operator costs before any work."""
    call_us: float = 0.0
    """Microseconds that each inference costs besides its operators."""
    parallel: float = 0.0
    """Part of the time that shrinks with more cores (Amdahl): 0 none, 1 all."""
    efficiency: dict[str, dict[str, Efficiency]] = field(default_factory=dict)
    """Per precision and kind of operator (`edgecut.ir.work.Kind`, or ``default``)."""
    error: Error | None = None
    """Cross-validated error of these figures; None: never compared with measurements."""

    def of(self, kind: str, precision: str) -> Efficiency:
        """The efficiency of a kind of operator: its own, else the default of its precision, else of float."""
        for table in (self.efficiency.get(precision, {}), self.efficiency.get("float32", {})):
            found = table.get(kind) or table.get(LIKE.get(kind, "default")) or table.get("default")
            if found is not None:
                return found
        return Efficiency()


@dataclass(frozen=True)
class Power:
    """Watts that the whole device draws."""

    active_w: float
    """While it computes."""
    idle_w: float
    """While it waits for the network."""


@dataclass(frozen=True)
class Size:
    """A size in which a cloud offers a device, chosen as ``name:memory_mb``."""

    memory_mb: int
    cores: float
    usd_per_s: float


@dataclass(frozen=True)
class Price:
    """US dollars."""

    usd_per_s: float = 0.0
    """Per second of use (of the whole device)."""
    usd_per_request: float = 0.0


@dataclass(frozen=True)
class Radio:
    """Power that sending and receiving draw on the device, above its idle power: linear in the rate."""

    tx_base_mw: float
    tx_mw_per_mbps: float
    rx_base_mw: float
    rx_mw_per_mbps: float
    tail_mw: float = 0.0
    """Drawn after the last packet ..."""
    tail_s: float = 0.0
    """... for this long."""

    def tx_w(self, mbps: float) -> float:
        """Watts while sending at this rate."""
        return (self.tx_base_mw + self.tx_mw_per_mbps * mbps) / 1000

    def rx_w(self, mbps: float) -> float:
        """Watts while receiving at this rate."""
        return (self.rx_base_mw + self.rx_mw_per_mbps * mbps) / 1000
