"""A Pareto front as a picture: the first two objectives against each other."""

from edgecut.passes.partition.mixed import shown
from edgecut.passes.partition.pareto import Front
from edgecut.passes.partition.picture import Dot, Line, Picture, Words
from edgecut.passes.partition.sweep_picture import shortened

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 110, 230, 60, 60
COLOUR, SOFT = "#0072b2", "#666666"


def picture(found: Front) -> Picture:
    """Draw the front; each point bears its cut's name, and all of its prices."""
    xs, ys = ([p.prices[i] for p in found.points] for i in (0, 1))
    points = tuple(
        (_place(x, xs, LEFT, WIDTH - RIGHT), _place(y, ys, HEIGHT - BOTTOM, TOP))
        for x, y in zip(xs, ys, strict=True)
    )
    # Of three objectives the points lie on no line.
    is_line = len(points) > 1 and len(found.objectives) == 2
    items: list[Line | Dot | Words] = [Line(points, COLOUR, 2)] if is_line else []
    for (x, y), point in zip(points, found.points, strict=True):
        prices = [shown(p, unit) for p, unit in zip(point.prices, found.units, strict=True)]
        items.append(Dot((x, y), COLOUR))
        # Above and to the right of the point: the line falls.
        items.append(Words((x + 8, y - 20), shortened(point.cut.name), title=point.cut.name))
        items.append(Words((x + 8, y - 6), ", ".join(prices), colour=SOFT))
    across, up = found.objectives[:2]
    items.append(Words(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14), across, "middle"))
    items.append(Words((24, (TOP + HEIGHT - BOTTOM) / 2), up, "middle", upward=True))
    for values, units in ((xs, found.units[0]), (ys, found.units[1])):
        is_x = values is xs
        for value in dict.fromkeys((min(values), max(values))):
            place = _place(value, values, *((LEFT, WIDTH - RIGHT) if is_x else (HEIGHT - BOTTOM, TOP)))
            at = (place, HEIGHT - BOTTOM + 34) if is_x else (LEFT - 28, place + 4)
            items.append(Words(at, shown(value, units), "middle" if is_x else "end", colour=SOFT))
    corner = ((LEFT - 20, TOP - 20), (LEFT - 20, HEIGHT - BOTTOM + 20), (WIDTH - 20, HEIGHT - BOTTOM + 20))
    items.append(Line(corner, "#888888"))
    return Picture(WIDTH, HEIGHT, tuple(items))


def _place(value: float, values: list[float], first: float, last: float) -> float:
    """Where a value stands between the places of the least and the most."""
    span = max(values) - min(values)
    return first + ((value - min(values)) / span if span > 0 else 0.5) * (last - first)
