"""GridSample on images: for every place of the grid a few gathered pixels, weighted and summed."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import BOOL, FLOAT, INT32, Call

Picks = list[tuple[Tensor, Tensor | None]]
"""Positions along one dimension, and what each weighs (None: all of it)."""

_CUBIC = -0.75
_MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""What modes were called before operator set 20."""


def grid_sample(call: Call) -> Tensor:
    """[N, C, H, W] at [N, oH, oW, (x, y)] from -1 to 1 -> [N, C, oH, oW]."""
    call.float_only(0, 1)
    x, grid = call.input(0), call.input(1)
    call.need(x.rank == 4, f"rank {x.rank}")
    (n, channels, height, width), places = x.shape, (*grid.shape[:3], 1)
    rows = call.reshape(call.transpose(x, (0, 2, 3, 1)), (n * height * width, channels))
    across, down = _coordinates(call, grid)
    images = lir.constant(np.arange(n, dtype=np.int32).reshape(n, 1, 1, 1) * (height * width))

    def pixel(row: Tensor, column: Tensor) -> Tensor:
        index = call.binary("ADD", call.binary("MUL", row, call.scalar(width, INT32)), column)
        index = call.reshape(call.binary("ADD", index, images) if n > 1 else index, places[:3])
        return call.emit("GATHER", [rows, index], (*places[:3], channels), FLOAT, axis=0, batchDims=0)

    columns = _picks(call, across, width)
    found = []
    for row, weight in _picks(call, down, height):
        line = _sum(call, [_weighted(call, pixel(row, column), share) for column, share in columns])
        found.append(_weighted(call, line, weight))
    return call.transpose(_sum(call, found), (0, 3, 1, 2))


def _coordinates(call: Call, grid: Tensor) -> Sequence[Tensor]:
    """Of all places: x, and y."""
    if grid.is_constant:
        return [lir.constant(part) for part in np.split(lir.real(grid), 2, -1)]
    return call.emit_many("SPLIT", [lir.integers([3]), grid], [(*grid.shape[:3], 1)] * 2, numSplits=2)


def _picks(call: Call, grid: Tensor, size: int) -> Picks:
    """Which elements of a dimension of ``size`` each place of the grid takes."""
    mode = call.attribute("mode", "linear")
    mode, padding = _MODES.get(mode, mode), call.attribute("padding_mode", "zeros")
    corners = bool(call.attribute("align_corners", 0))
    span = size - 1 if corners else size
    x = call.binary("MUL", grid, call.scalar(span / 2))
    x = call.binary("ADD", x, call.scalar((size - 1) / 2))
    if mode == "nearest":
        return [_inside(call, call.unary("ROUND", x), None, size, padding, corners)]
    if padding != "zeros" and mode == "linear":
        x = _padded(call, x, size, padding, corners)
    first = call.unary("FLOOR", x)
    part = call.binary("SUB", x, first)
    weights = _linear(call, part) if mode == "linear" else _cubic(call, part)
    start = 0 if mode == "linear" else -1
    made = []
    for i, weight in enumerate(weights):
        place = call.binary("ADD", first, call.scalar(float(start + i))) if start + i else first
        made.append(_inside(call, place, weight, size, padding, corners))
    return made


def _inside(
    call: Call, place: Tensor, weight: Tensor | None, size: int, padding: str, corners: bool
) -> tuple[Tensor, Tensor | None]:
    """A whole position within the image; one outside weighs nothing, or is brought back."""
    if padding == "zeros":
        after = call.binary("GREATER_EQUAL", place, call.scalar(0.0), BOOL)
        before = call.binary("LESS_EQUAL", place, call.scalar(size - 1.0), BOOL)
        there = call.cast(call.binary("LOGICAL_AND", after, before, BOOL), FLOAT)
        weight = there if weight is None else call.binary("MUL", weight, there)
    if padding == "reflection":
        place = _padded(call, place, size, padding, corners)
    return call.cast(_limited(call, place, size), INT32), weight


def _padded(call: Call, x: Tensor, size: int, padding: str, corners: bool) -> Tensor:
    """A position brought back to the image: to its border, or as often as needed reflected there."""
    if padding == "border":
        return _limited(call, x, size)
    low, span = (0.0, size - 1.0) if corners else (-0.5, float(size))
    if span == 0:
        return call.binary("MUL", x, call.scalar(0.0))
    turns = call.binary("FLOOR_MOD", call.binary("SUB", x, call.scalar(low)), call.scalar(2 * span))
    distance = call.unary("ABS", call.binary("SUB", turns, call.scalar(span)))
    return call.binary("SUB", call.scalar(low + span), distance)


def _limited(call: Call, x: Tensor, size: int) -> Tensor:
    return call.binary("MINIMUM", call.binary("MAXIMUM", x, call.scalar(0.0)), call.scalar(size - 1.0))


def _linear(call: Call, part: Tensor) -> list[Tensor]:
    return [call.binary("SUB", call.scalar(1.0), part), part]


def _cubic(call: Call, part: Tensor) -> list[Tensor]:
    """Keys' weights of the four elements around a place, ``part`` beyond the second."""
    a = _CUBIC
    near, far = (a + 2, -(a + 3), 0.0, 1.0), (a, -5 * a, 8 * a, -4 * a)
    rest = call.binary("SUB", call.scalar(1.0), part)
    outer, last = (call.binary("ADD", t, call.scalar(1.0)) for t in (part, rest))
    sides = ((far, outer), (near, part), (near, rest), (far, last))
    return [_polynomial(call, t, factors) for factors, t in sides]


def _polynomial(call: Call, x: Tensor, factors: tuple[float, ...]) -> Tensor:
    found = call.binary("MUL", x, call.scalar(factors[0]))
    for factor in factors[1:-1]:
        found = call.binary("MUL", call.binary("ADD", found, call.scalar(factor)), x)
    return call.binary("ADD", found, call.scalar(factors[-1]))


def _weighted(call: Call, pixels: Tensor, weight: Tensor | None) -> Tensor:
    return pixels if weight is None else call.binary("MUL", pixels, weight)


def _sum(call: Call, tensors: list[Tensor]) -> Tensor:
    return functools.reduce(functools.partial(call.binary, "ADD"), tensors)


LOWERINGS = {"GridSample": grid_sample}
