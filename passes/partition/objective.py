"""What a placement is judged by: prices of the seconds and bytes that it adds up to.

Latency, energy and money, and weighted sums of them, all price the same five totals. Each depends on
one more parameter at a time (the seconds that one byte takes to send, the round trip, the load of the
server), and on that linearly; so all optima over it form an envelope of few straight lines.
"""

from dataclasses import dataclass

from edgecut.ir.errors import UsageError
from edgecut.passes.partition.problem import Totals
from edgecut.targets.spec import Device, Network

BITS_PER_MEGABYTE = 8e-6
"""Megabits in a byte: ``delay = BITS_PER_MEGABYTE / mbps``."""


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

    def __add__(self, other: "Rates") -> "Rates":
        return Rates(
            self.edge_s + other.edge_s,
            self.cloud_s + other.cloud_s,
            self.up_byte + other.up_byte,
            self.down_byte + other.down_byte,
            self.offload + other.offload,
        )

    def __mul__(self, factor: float) -> "Rates":
        return Rates(
            self.edge_s * factor,
            self.cloud_s * factor,
            self.up_byte * factor,
            self.down_byte * factor,
            self.offload * factor,
        )


BYTES_SENT = Rates(up_byte=1.0)


@dataclass(frozen=True)
class Family:
    """Rates that depend linearly on one parameter, which is 0 or more."""

    fixed: Rates
    slope: Rates

    def at(self, parameter: float) -> Rates:
        """The rates at one value of the parameter."""
        return self.fixed + self.slope * parameter

    def line(self, totals: Totals) -> tuple[float, float]:
        """Price of a placement as ``intercept + slope * parameter``."""
        return self.fixed.price(totals), self.slope.price(totals)


@dataclass(frozen=True)
class Situation:
    """Everything outside the model that prices depend on."""

    network: Network
    edge: Device | None = None
    cloud: Device | None = None
    load: float = 1.0
    """How many times longer the server takes than when it was profiled."""

    @property
    def delay(self) -> float:
        """Seconds that one byte takes on the uplink."""
        return delay(self.network.up_mbps)


def delay(mbps: float) -> float:
    """Seconds that one byte takes."""
    return BITS_PER_MEGABYTE / mbps


def latency(at: Situation) -> Family:
    """Seconds from input to answer, over the uplink's delay: both sides' work, sending, a round trip."""
    return Family(Rates(1.0, at.load, 0.0, delay(at.network.down_mbps), at.network.rtt_s), Rates(up_byte=1.0))


def energy(at: Situation) -> Family:
    """Joules that the device draws per inference, over the uplink's delay.

    The radio's power is on top of the idle power, and linear in the rate: ``base + per_mbps * mbps``.

    Raises:
        UsageError: The device or the network has no power figures.
    """
    power, radio = at.edge.power if at.edge else None, at.network.radio
    if power is None:
        where = at.edge.name if at.edge else "the edge device"
        raise UsageError("has no power figures", where=where, hint="give a device file with [power]")
    if radio is None:
        raise UsageError("has no radio power", where=at.network.name, hint="give a network file with [radio]")
    receiving = (power.idle_w + radio.rx_w(at.network.down_mbps)) * delay(at.network.down_mbps)
    waiting = power.idle_w * at.network.rtt_s + radio.tail_mw / 1000 * radio.tail_s
    per_byte = radio.tx_mw_per_mbps / 1000 * BITS_PER_MEGABYTE
    fixed = Rates(power.active_w, power.idle_w * at.load, per_byte, receiving, waiting)
    return Family(fixed, Rates(up_byte=power.idle_w + radio.tx_base_mw / 1000))


def cost(at: Situation) -> Family:
    """US dollars per inference: the server's time, the request, and the traffic both ways.

    Raises:
        UsageError: The server has no price.
    """
    price = at.cloud.price if at.cloud else None
    if price is None:
        where = at.cloud.name if at.cloud else "the server"
        raise UsageError("has no price", where=where, hint="give a device file with [price]")
    per_byte = at.network.price_per_gb / 1e9
    fixed = Rates(0.0, price.usd_per_s * at.load, per_byte, per_byte, price.usd_per_request)
    return Family(fixed, Rates())


LINEAR = {"latency": latency, "energy": energy, "cost": cost}
"""Objectives that price totals; by name."""

UNITS = {"latency": "s", "energy": "J", "cost": "USD", "throughput": "s"}


def weighted(at: Situation, weights: dict[str, float]) -> Family:
    """A weighted sum, each part in its own unit (seconds, joules, US dollars).

    Raises:
        UsageError: A name is unknown, a weight is negative, or figures of a target are missing.
    """
    total = Family(Rates(), Rates())
    for name, weight in weights.items():
        if name not in LINEAR:
            raise UsageError(f"no objective {name!r} to weigh", hint=f"there are: {', '.join(LINEAR)}")
        if weight < 0:
            raise UsageError(f"the weight of {name} is below 0")
        part = LINEAR[name](at)
        total = Family(total.fixed + part.fixed * weight, total.slope + part.slope * weight)
    return total
