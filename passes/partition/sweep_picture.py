"""A sweep as a picture: price over bandwidth, both logarithmic."""

from collections.abc import Iterator

import numpy as np

from edgecut.ir.printer import seconds
from edgecut.passes.partition.picture import Line, Picture, Words
from edgecut.passes.partition.sweep import Curve, Sweep, grid

Items = Iterator[Line | Words]

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 80, 230, 40, 50
POINTS = 300
# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
GREYS = ("#999999", "#777777", "#555555")
DASHES = ((6.0, 4.0), (2.0, 3.0), (10.0, 3.0))
"""Baselines are grey, each with dashes of its own."""
LONGEST = 28


def picture(drawn: Sweep) -> Picture:
    """Draw a sweep."""
    scale = _Scale(drawn)
    return Picture(WIDTH, HEIGHT, (*_frame(drawn, scale), *_curves(drawn, scale)))


class _Scale:
    """From bandwidths and prices to points of the picture."""

    def __init__(self, drawn: Sweep) -> None:
        self.mbps = grid(drawn, POINTS)
        lowest = np.min([c.at(self.mbps) for c in drawn.curves if not c.is_baseline], axis=0)
        self.low, self.high = max(float(lowest.min()) / 1.5, 1e-12), float(lowest.max()) * 3
        self.drawn = drawn

    def x(self, mbps: float) -> float:
        part = np.log(mbps / self.drawn.low_mbps) / np.log(self.drawn.high_mbps / self.drawn.low_mbps)
        return LEFT + float(part) * (WIDTH - LEFT - RIGHT)

    def y(self, price: float) -> float:
        part = np.log(price / self.low) / np.log(self.high / self.low)
        return HEIGHT - BOTTOM - float(part) * (HEIGHT - TOP - BOTTOM)


def _frame(drawn: Sweep, scale: _Scale) -> Items:
    title = f"{drawn.objective} on {drawn.network}, round trip {seconds(drawn.rtt_s)}"
    yield Words((LEFT, TOP - 16), title, bold=True)
    yield Words(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12), "uplink, Mbit/s", "middle")
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for mark in _decades(drawn.low_mbps, drawn.high_mbps):
        x = scale.x(mark)
        yield Line(((x, TOP), (x, bottom)), "#e5e5e5")
        yield Words((x, bottom + 18), f"{mark:g}", "middle")
    for mark in _decades(scale.low, scale.high):
        y = scale.y(mark)
        yield Line(((LEFT, y), (right, y)), "#e5e5e5")
        label = seconds(mark) if drawn.unit == "s" else f"{mark:g} {drawn.unit}"
        yield Words((LEFT - 8, y + 4), label, "end")
    corners = ((LEFT, TOP), (right, TOP), (right, bottom), (LEFT, bottom), (LEFT, TOP))
    yield Line(corners, "#888888")
    here = scale.x(drawn.up_mbps)
    yield Line(((here, TOP), (here, bottom)), "#888888", dash=(2, 3))
    yield Words((here + 4, TOP + 14), f"{drawn.up_mbps:g}", colour="#666666")


def _curves(drawn: Sweep, scale: _Scale) -> Items:
    baselines = [c.name for c in drawn.curves if c.is_baseline]
    for i, curve in enumerate(drawn.curves):
        rank = baselines.index(curve.name) % len(GREYS) if curve.is_baseline else i
        colour = GREYS[rank] if curve.is_baseline else COLOURS[rank % len(COLOURS)]
        dash = DASHES[rank] if curve.is_baseline else None
        yield from _path(scale, curve, scale.mbps, colour, 1.2, dash)
        for stretch in drawn.best if not curve.is_baseline else ():
            low = max(stretch.min_mbps, drawn.low_mbps)
            high = min(stretch.max_mbps or drawn.high_mbps, drawn.high_mbps)
            if stretch.name == curve.name and low < high:
                yield from _path(scale, curve, np.geomspace(low, high, 100), colour, 3.5, None)
        y = TOP + 10 + 20 * i
        yield Line(((WIDTH - RIGHT + 12, y), (WIDTH - RIGHT + 36, y)), colour, 2.5, dash)
        yield Words((WIDTH - RIGHT + 42, y + 4), shortened(curve.name), title=curve.name)


def shortened(name: str) -> str:
    """A name that fits beside a picture."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."


def _path(
    scale: _Scale,
    curve: Curve,
    mbps: np.ndarray,
    colour: str,
    width: float,
    dash: tuple[float, float] | None,
) -> Items:
    """The part of a curve that is inside the frame, if there is one."""
    prices = curve.at(mbps)
    inside = (prices >= scale.low) & (prices <= scale.high)
    points = tuple((scale.x(b), scale.y(p)) for b, p in zip(mbps[inside], prices[inside], strict=True))
    if len(points) > 1:
        yield Line(points, colour, width, dash)


def _decades(low: float, high: float) -> Iterator[float]:
    """Round values between two others: powers of ten, and where these are few, twice and five times them."""
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    for power in range(int(np.floor(np.log10(low))), int(np.floor(np.log10(high))) + 1):
        yield from (step * 10.0**power for step in steps if low <= step * 10.0**power <= high)
