"""A Pareto front as an SVG picture: the first two objectives against each other."""

from xml.sax.saxutils import escape

from edgecut.passes.partition.mixed import shown
from edgecut.passes.partition.pareto import Front

WIDTH, HEIGHT, MARGIN = 640, 440, 90


def svg(found: Front) -> str:
    """Draw the front; a third objective is written beside each point."""
    xs, ys = ([p.prices[i] for p in found.points] for i in (0, 1))
    points = [(_place(x, xs, WIDTH), HEIGHT - _place(y, ys, HEIGHT)) for x, y in zip(xs, ys, strict=True)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    body = [f'<polyline points="{line}" fill="none" stroke="#0072b2" stroke-width="2"/>']
    for (x, y), point in zip(points, found.points, strict=True):
        prices = [shown(p, unit) for p, unit in zip(point.prices, found.units, strict=True)]
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#0072b2"/>')
        body.append(f'<text x="{x + 9:.1f}" y="{y - 9:.1f}">{escape(point.cut.name)}</text>')
        body.append(f'<text x="{x + 9:.1f}" y="{y + 7:.1f}" fill="#666">{escape(", ".join(prices))}</text>')
    across, up = (f"{name}, {unit}" for name, unit in zip(found.objectives[:2], found.units[:2], strict=True))
    body.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 20}" text-anchor="middle">{across}</text>')
    turn = f"rotate(-90 24 {HEIGHT / 2})"
    body.append(f'<text x="24" y="{HEIGHT / 2}" text-anchor="middle" transform="{turn}">{up}</text>')
    corner = f"M{MARGIN / 2} {MARGIN / 2} V{HEIGHT - MARGIN / 2} H{WIDTH - MARGIN / 2}"
    body.append(f'<path d="{corner}" fill="none" stroke="#888"/>')
    style = "font:12px sans-serif"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" style="{style}">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *body, "</svg>", ""])


def _place(value: float, values: list[float], length: int) -> float:
    """Where a value stands between the least and the most, inside the margins."""
    span = max(values) - min(values)
    part = (value - min(values)) / span if span > 0 else 0.5
    return MARGIN + part * (length - 2.5 * MARGIN)
