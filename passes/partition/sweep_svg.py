"""A sweep as an SVG picture: price over bandwidth, both logarithmic."""

from collections.abc import Iterator
from xml.sax.saxutils import escape

import numpy as np

from edgecut.ir.printer import seconds
from edgecut.passes.partition.sweep import Curve, Sweep, grid

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 80, 230, 40, 50
POINTS = 300
# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def svg(drawn: Sweep) -> str:
    """Draw a sweep."""
    scale = _Scale(drawn)
    body = [*_frame(drawn, scale), *_curves(drawn, scale)]
    style = "font:12px sans-serif"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" style="{style}">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *body, "</svg>", ""])


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


def _frame(drawn: Sweep, scale: _Scale) -> Iterator[str]:
    title = f"{drawn.objective} on {drawn.network}, round trip {seconds(drawn.rtt_s)}"
    yield _text(LEFT, TOP - 16, title, weight="bold")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "uplink, Mbit/s", anchor="middle")
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for mark in _decades(drawn.low_mbps, drawn.high_mbps):
        x = scale.x(mark)
        yield _line(x, TOP, x, bottom, "#e5e5e5")
        yield _text(x, bottom + 18, f"{mark:g}", anchor="middle")
    for mark in _decades(scale.low, scale.high):
        y = scale.y(mark)
        yield _line(LEFT, y, right, y, "#e5e5e5")
        label = seconds(mark) if drawn.unit == "s" else f"{mark:g} {drawn.unit}"
        yield _text(LEFT - 8, y + 4, label, anchor="end")
    box = f'x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}"'
    yield f'<rect {box} fill="none" stroke="#888"/>'
    here = scale.x(drawn.up_mbps)
    yield _line(here, TOP, here, bottom, "#888", dash="2 3")
    yield _text(here + 4, TOP + 14, f"{drawn.up_mbps:g}", colour="#666")


def _curves(drawn: Sweep, scale: _Scale) -> Iterator[str]:
    for i, curve in enumerate(drawn.curves):
        colour = "#999" if curve.is_baseline else COLOURS[i % len(COLOURS)]
        dash = "6 4" if curve.is_baseline else ""
        yield from _path(scale, curve, scale.mbps, colour, 1.2, dash)
        for stretch in drawn.best if not curve.is_baseline else ():
            if stretch.name == curve.name:
                low = max(stretch.min_mbps, drawn.low_mbps)
                high = min(stretch.max_mbps or drawn.high_mbps, drawn.high_mbps)
                if low < high:
                    yield from _path(scale, curve, np.geomspace(low, high, 100), colour, 3.5, "")
        y = TOP + 10 + 20 * i
        yield _line(WIDTH - RIGHT + 12, y, WIDTH - RIGHT + 36, y, colour, dash=dash, width=2.5)
        name = curve.name if len(curve.name) <= 28 else f"{curve.name[:27]}…"
        yield f"<g><title>{escape(curve.name)}</title>{_text(WIDTH - RIGHT + 42, y + 4, name)}</g>"


def _path(
    scale: _Scale, curve: Curve, mbps: np.ndarray, colour: str, width: float, dash: str
) -> Iterator[str]:
    """The part of a curve that is inside the frame, if there is one."""
    prices = curve.at(mbps)
    inside = (prices >= scale.low) & (prices <= scale.high)
    points = " ".join(
        f"{scale.x(b):.1f},{scale.y(p):.1f}" for b, p in zip(mbps[inside], prices[inside], strict=True)
    )
    extra = f' stroke-dasharray="{dash}"' if dash else ""
    if points:
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"{extra}/>'


def _decades(low: float, high: float) -> Iterator[float]:
    for power in range(int(np.ceil(np.log10(low))), int(np.floor(np.log10(high))) + 1):
        yield 10.0**power


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "", width: float = 1) -> str:
    extra = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"{extra}/>'


def _text(
    x: float, y: float, text: str, anchor: str = "start", weight: str = "normal", colour: str = "black"
) -> str:
    look = f'text-anchor="{anchor}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(text)}</text>'
