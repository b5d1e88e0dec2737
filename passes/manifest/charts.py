"""The pictures of the report, as SVG text. Colours come from the page's style sheet by class."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from edgecut.ir.printer import seconds

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 14, 44


@dataclass(frozen=True)
class Line:
    """A latency that depends on the uplink: ``fixed + bytes / bandwidth``."""

    name: str
    fixed_s: float
    up_bytes: float
    style: str
    """CSS class of the line."""

    def at(self, mbps: float) -> float:
        """Seconds at an uplink bandwidth."""
        return self.fixed_s + self.up_bytes * 8 / (mbps * 1e6)


def latency_over_bandwidth(lines: Sequence[Line], marker_mbps: float, low: float, high: float) -> str:
    """Latency of each line from ``low`` to ``high`` Mbit/s, on logarithmic axes, the plan's uplink marked."""
    xs = [low * (high / low) ** (i / 120) for i in range(121)]
    times = [line.at(x) for line in lines for x in (low, high)]
    top = 10 ** math.ceil(math.log10(max(times)))
    bottom = 10 ** math.floor(math.log10(max(min(times), 1e-6)))
    if top <= bottom:
        top = bottom * 10

    def px(mbps: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(mbps / low) / math.log(high / low)

    def py(time: float) -> float:
        share = math.log(max(time, bottom) / bottom) / math.log(top / bottom)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    parts = [_open(WIDTH, HEIGHT, "Latency over uplink bandwidth")]
    for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1):
        x = px(10.0**power)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 16, f"{10.0**power:g}", "middle"))
    for power in range(round(math.log10(bottom)), round(math.log10(top)) + 1):
        y = py(10.0**power)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 6, y + 4, seconds(10.0**power), "end"))
    parts.append(_text((LEFT + WIDTH) / 2, HEIGHT - 8, "uplink, Mbit/s", "middle"))
    if low <= marker_mbps <= high:
        parts.append(f'<path class="marker" d="M{px(marker_mbps):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
    for line in lines:
        path = "L".join(f"{px(x):.1f} {py(line.at(x)):.1f}" for x in xs)
        title = f"<title>{escape(line.name)}</title>"
        parts.append(f'<path class="line {line.style}" d="M{path}">{title}</path>')
    return "".join([*parts, "</svg>"])


def legend(lines: Sequence[Line]) -> str:
    """The name of each line beside a piece of it."""
    height = 20 * len(lines) + 4
    parts = [_open(WIDTH, height, "Legend")]
    for i, line in enumerate(lines):
        y = 20 * i + 12
        parts.append(f'<path class="line {line.style}" d="M{LEFT} {y}h34"/>')
        parts.append(_text(LEFT + 44, y + 4, line.name, "start"))
    return "".join([*parts, "</svg>"])


def shortened(name: str, most: int = 30) -> str:
    """A name that fits beside a picture."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def bars(rows: Sequence[tuple[str, float | None, str]]) -> str:
    """One horizontal bar per row of name, seconds (None: impossible) and CSS class."""
    known = [time for _, time, _ in rows if time is not None]
    longest = max(known, default=1.0) or 1.0
    height = 26 * len(rows) + 6
    parts = [_open(WIDTH, height, "Latency of each plan")]
    for i, (name, time, style) in enumerate(rows):
        y = 26 * i + 4
        title = f"<title>{escape(name)}</title>"
        parts.append(f"<g>{title}{_text(230, y + 14, shortened(name), 'end')}</g>")
        if time is None:
            parts.append(_text(240, y + 14, "not possible", "start"))
            continue
        width = max(2.0, (WIDTH - 330) * time / longest)
        parts.append(f'<rect class="bar {style}" x="240" y="{y}" width="{width:.1f}" height="18" rx="3"/>')
        parts.append(_text(246 + width, y + 14, seconds(time), "start"))
    return "".join([*parts, "</svg>"])


def _open(width: int, height: int, label: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
