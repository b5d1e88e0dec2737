"""What a placement is judged by: a price for each second and byte, as a function of the bandwidth.

Every objective of the cut (latency, energy, cost, or a weighted sum) prices the same five totals. Only
the price of a byte sent depends on the uplink, and it is linear in the *delay*, the seconds that one
byte takes; that is why all optimal cuts form an envelope of few straight lines over it.
"""

from dataclasses import dataclass

from edgecut.passes.partition.problem import Totals

BITS_PER_MEGABYTE = 8e-6
"""Megabits in a byte: ``delay = BITS_PER_MEGABYTE / mbps``."""


@dataclass(frozen=True)
class Link:
    """The network of a plan."""

    name: str
    up_mbps: float
    down_mbps: float
    rtt_s: float


@dataclass(frozen=True)
class Rates:
    """The price of one unit of each total."""

    edge_s: float = 0.0
    cloud_s: float = 0.0
    up_byte: float = 0.0
    down_byte: float = 0.0
    offload: float = 0.0
    """Of running anything in the cloud."""

    def price(self, totals: Totals) -> float:
        """The price of a placement."""
        return (
            self.edge_s * totals.edge_s
            + self.cloud_s * totals.cloud_s
            + self.up_byte * totals.up_bytes
            + self.down_byte * totals.down_bytes
            + self.offload * totals.offloaded
        )


BYTES_SENT = Rates(up_byte=1.0)


@dataclass(frozen=True)
class Objective:
    """Rates whose price of a byte sent grows with the delay of the uplink."""

    name: str
    fixed: Rates
    per_delay: float
    """Added to the price of a byte sent, per second of delay."""

    def at(self, up_mbps: float) -> Rates:
        """The rates at one uplink bandwidth."""
        up_byte = self.fixed.up_byte + self.per_delay * delay(up_mbps)
        fixed = self.fixed
        return Rates(fixed.edge_s, fixed.cloud_s, up_byte, fixed.down_byte, fixed.offload)

    def line(self, totals: Totals) -> tuple[float, float]:
        """Price of a placement as ``intercept + slope * delay``."""
        return self.fixed.price(totals), self.per_delay * totals.up_bytes


def delay(mbps: float) -> float:
    """Seconds that one byte takes."""
    return BITS_PER_MEGABYTE / mbps


def latency(link: Link) -> Objective:
    """Seconds from input to answer: both sides' work, sending, and, if offloaded, a round trip."""
    return Objective("latency", Rates(1.0, 1.0, 0.0, delay(link.down_mbps), link.rtt_s), 1.0)
