"""A sweep as text: price over bandwidth, and below it the map of the best cut over the round trip."""

import string

import numpy as np

from edgecut.ir.printer import seconds
from edgecut.passes.partition.sweep import Curve, Sweep, grid, name_at

WIDTH, HEIGHT = 72, 16
MARGIN = 10


def text(drawn: Sweep) -> str:
    """Draw a sweep: letters for cuts, dots for where a cut is not the best, digits for not splitting."""
    names = list(dict.fromkeys(s.name for s in (*drawn.best, *(s for row in drawn.rows for s in row.best))))
    letters = dict(zip(names, string.ascii_uppercase + string.ascii_lowercase, strict=False))
    axis = _axis(drawn)
    parts = [_plot(drawn, letters), axis, "", _map(drawn, letters), axis, "", _legend(drawn, letters)]
    return "\n".join(parts)


def _plot(drawn: Sweep, letters: dict[str, str]) -> str:
    mbps = grid(drawn, WIDTH)
    cuts = [c for c in drawn.curves if not c.is_baseline]
    prices = np.array([curve.at(mbps) for curve in cuts])
    best = np.array([letters.get(name_at(drawn.best, at), "?") for at in mbps])
    lowest = prices.min(axis=0)
    # What is ten times above the best everywhere says nothing; the axis ends there.
    top, bottom = np.log10(lowest.max() * 3), np.log10(max(lowest.min() / 1.5, 1e-12))
    canvas = np.full((HEIGHT, WIDTH), " ")
    for row in prices:
        _mark(canvas, row, np.full(WIDTH, "."), top, bottom)
    for sign, curve in _baselines(drawn):
        _mark(canvas, curve.at(mbps), np.full(WIDTH, sign), top, bottom)
    _mark(canvas, lowest, best, top, bottom)
    lines = []
    for i, cells in enumerate(canvas):
        value = 10 ** (top - (top - bottom) * i / (HEIGHT - 1))
        label = _price(value, drawn.unit) if i % 5 == 0 else ""
        lines.append(f"{label:>{MARGIN - 2}} |{''.join(cells)}".rstrip())
    return "\n".join([f"{drawn.objective} on {drawn.network}, round trip {seconds(drawn.rtt_s)}", *lines])


def _baselines(drawn: Sweep) -> list[tuple[str, Curve]]:
    """What not splitting takes, with a digit each."""
    return [(str(i), c) for i, c in enumerate((c for c in drawn.curves if c.is_baseline), start=1)]


def _mark(canvas: np.ndarray, prices: np.ndarray, signs: np.ndarray, top: float, bottom: float) -> None:
    """Draw a curve; where it is steeper than a row per column, without gaps."""
    heights = np.log10(np.maximum(prices, 1e-12))
    rows = np.rint((top - heights) / (top - bottom) * (HEIGHT - 1)).astype(int)
    before = rows[0]
    for column, (row, sign) in enumerate(zip(rows, signs, strict=True)):
        reached = range(min(row, before + 1), max(row, before - 1) + 1)
        for at in reached:
            if 0 <= at < HEIGHT:
                canvas[at, column] = sign
        before = row


def _axis(drawn: Sweep) -> str:
    ticks = [" "] * WIDTH
    marks = 10.0 ** np.arange(np.ceil(np.log10(drawn.low_mbps)), np.floor(np.log10(drawn.high_mbps)) + 1)
    labels = [" "] * (WIDTH + 6)
    for mark in marks:
        at = _column(drawn, mark)
        ticks[at] = "+"
        for i, sign in enumerate(f"{mark:g}"):
            labels[at + i] = sign
    here = _column(drawn, drawn.up_mbps)
    ticks[here] = "^"
    line = "".join(ticks).replace(" ", "-")
    return f"{'':{MARGIN}}{line}\n{'':{MARGIN}}{''.join(labels).rstrip()} Mbit/s"


def _column(drawn: Sweep, mbps: float) -> int:
    part = np.log(mbps / drawn.low_mbps) / np.log(drawn.high_mbps / drawn.low_mbps)
    return round(float(part) * (WIDTH - 1))


def _map(drawn: Sweep, letters: dict[str, str]) -> str:
    lines = ["best cut by round trip"]
    for row in reversed(drawn.rows):
        cells = "".join(letters.get(name_at(row.best, at), "?") for at in grid(drawn, WIDTH))
        lines.append(f"{seconds(row.rtt_s):>{MARGIN - 2}} |{cells}")
    return "\n".join(lines)


def _legend(drawn: Sweep, letters: dict[str, str]) -> str:
    lines = [f"{letter}  {name}" for name, letter in letters.items()]
    lines += [f"{sign}  {curve.name}" for sign, curve in _baselines(drawn)]
    return "\n".join([*lines, f"^  {drawn.network}: {drawn.up_mbps:g} Mbit/s"])


def _price(value: float, unit: str) -> str:
    return seconds(value) if unit == "s" else f"{value:.2g} {unit}".rstrip()
