"""A picture of lines, dots and words, as SVG text or as a PNG file: one description, two ways to write it."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

from edgecut.ir import files
from edgecut.ir.errors import UsageError

Point = tuple[float, float]
FONT = 12
SCALE = 2
"""Pixels of the PNG per unit of the picture."""


@dataclass(frozen=True)
class Line:
    """A line through some points."""

    points: tuple[Point, ...]
    colour: str
    width: float = 1.0
    dash: tuple[float, float] | None = None
    """Lengths drawn and left out in turn."""


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    at: Point
    colour: str
    radius: float = 5.0


@dataclass(frozen=True)
class Words:
    """A line of text that stands on a point."""

    at: Point
    text: str
    anchor: Literal["start", "middle", "end"] = "start"
    colour: str = "#000000"
    bold: bool = False
    upward: bool = False
    """Turned by a quarter, to be read from the right."""
    title: str = ""
    """The whole of it, where only a part is shown."""


@dataclass(frozen=True)
class Picture:
    """What is drawn, the later above the earlier, on white."""

    width: int
    height: int
    items: tuple[Line | Dot | Words, ...]


def write(picture: Picture, path: Path) -> None:
    """Write a picture as ``.svg`` or ``.png``.

    Raises:
        UsageError: The name ends otherwise.
        TargetError: The disk is full or the place cannot be written.
    """
    kinds = {".svg": lambda: svg(picture).encode(), ".png": lambda: png(picture)}
    if path.suffix.lower() not in kinds:
        raise UsageError("is neither .svg nor .png", where=str(path))
    files.write(path, kinds[path.suffix.lower()]())


def svg(picture: Picture) -> str:
    """The picture as SVG text."""
    size = f'viewBox="0 0 {picture.width} {picture.height}" width="{picture.width}" height="{picture.height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="font:{FONT}px sans-serif">'
    back = f'<rect width="{picture.width}" height="{picture.height}" fill="white"/>'
    return "\n".join([head, back, *map(_svg, picture.items), "</svg>", ""])


def _svg(item: Line | Dot | Words) -> str:
    if isinstance(item, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in item.points)
        dash = f' stroke-dasharray="{item.dash[0]:g} {item.dash[1]:g}"' if item.dash else ""
        look = f'fill="none" stroke="{item.colour}" stroke-width="{item.width:g}"'
        return f'<polyline points="{points}" {look}{dash}/>'
    x, y = item.at
    if isinstance(item, Dot):
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{item.radius:g}" fill="{item.colour}"/>'
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if item.upward else ""
    weight = ' font-weight="bold"' if item.bold else ""
    label = f" aria-label={quoteattr(item.title)}" if item.title else ""
    look = f'text-anchor="{item.anchor}" fill="{item.colour}"{weight}{turn}{label}'
    title = f"<title>{escape(item.title)}</title>" if item.title else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{title}{escape(item.text)}</text>'


def png(picture: Picture) -> bytes:
    """The picture as a PNG file; drawn at four times the size and reduced, so that edges are smooth."""
    from PIL import Image, ImageDraw

    fine = 2 * SCALE
    image = Image.new("RGB", (picture.width * fine, picture.height * fine), "white")
    draw = ImageDraw.Draw(image)
    for item in picture.items:
        if isinstance(item, Line):
            for piece in _dashes(item):
                points = [(x * fine, y * fine) for x, y in piece]
                draw.line(points, fill=item.colour, width=max(round(item.width * fine), 1), joint="curve")
        elif isinstance(item, Dot):
            (x, y), r = item.at, item.radius
            box = [(x - r) * fine, (y - r) * fine, (x + r) * fine, (y + r) * fine]
            draw.ellipse(box, fill=item.colour)
        else:
            _write_words(image, draw, item, fine)
    found = io.BytesIO()
    size = picture.width * SCALE, picture.height * SCALE
    image.resize(size, Image.Resampling.LANCZOS).save(found, "PNG", optimize=True)
    return found.getvalue()


def _write_words(image: Any, draw: Any, item: Words, fine: int) -> None:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT * fine)
    x, y = item.at[0] * fine, item.at[1] * fine
    stroke = fine // 4 if item.bold else 0
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[item.anchor]
    if not item.upward:
        draw.text((x, y), item.text, fill=item.colour, font=font, anchor=anchor, stroke_width=stroke)
        return
    width = math.ceil(draw.textlength(item.text, font=font))
    block = Image.new("L", (width, 2 * FONT * fine), 0)
    ImageDraw.Draw(block).text((0, round(1.5 * FONT * fine)), item.text, fill=255, font=font, anchor="ls")
    turned = block.rotate(90, expand=True)
    before = {"start": width, "middle": width // 2, "end": 0}[item.anchor]
    place = round(x - 1.5 * FONT * fine), round(y - before)
    image.paste(item.colour, (*place, place[0] + turned.width, place[1] + turned.height), turned)


def _dashes(line: Line) -> Iterator[Sequence[Point]]:
    """A line as the pieces of it that are drawn."""
    if line.dash is None:
        yield line.points
        return
    on, off = line.dash
    piece: list[Point] = [line.points[0]]
    left, drawing = on, True
    for start, end in zip(line.points, line.points[1:], strict=False):
        length, gone = math.dist(start, end), 0.0
        while length - gone > left:
            gone += left
            part = gone / length
            corner = start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])
            if drawing:
                yield [*piece, corner]
            drawing, piece = not drawing, [corner]
            left = on if drawing else off
        left -= length - gone
        piece.append(end)
    if drawing and len(piece) > 1:
        yield piece
