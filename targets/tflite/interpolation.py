"""Linear interpolation on integers: in which parts of a step its results come, and how the kernel rounds.

RESIZE_BILINEAR on int8 keeps the scale, so a result can lie halfway between two integers: the kernel rounds
it up, ONNX to the even one. Where a small part of a step is added before rounding, both go up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

_MOST = 256
"""Parts of a step that the kernel computes exactly, with weights of 11 bits along each dimension."""


def parts(size: Sequence[int], new: Sequence[int], coordinates: str) -> int | None:
    """The least number by which every interpolated integer is whole; None for other coordinates.

    Args:
        size: Of each dimension, in elements.
        new: What it becomes.
        coordinates: ONNX's ``coordinate_transformation_mode``.
    """
    if coordinates not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        return None
    return math.prod(_along(n, m, coordinates) for n, m in zip(size, new, strict=True))


def exact(count: int | None) -> bool:
    """Whether the kernel computes results in so many parts of a step exactly, before it rounds them."""
    return count is not None and count <= _MOST and count & (count - 1) == 0


def nudge(count: int) -> float:
    """What to add, in steps: it moves halves upwards, and nothing else across one."""
    return 0.25 / count


def _along(n: int, m: int, coordinates: str) -> int:
    denominators = [_position(i, n, m, coordinates).denominator for i in range(m)]
    return math.lcm(*denominators)


def _position(i: int, n: int, m: int, coordinates: str) -> Fraction:
    """Where an output element lies in the input, inside of it."""
    if coordinates == "align_corners":
        at = Fraction(i * (n - 1), m - 1) if m > 1 else Fraction(0)
    elif coordinates == "asymmetric":
        at = Fraction(i * n, m)
    elif m == 1 and coordinates == "pytorch_half_pixel":
        at = Fraction(0)
    else:
        at = Fraction((2 * i + 1) * n, 2 * m) - Fraction(1, 2)
    return min(max(at, Fraction(0)), Fraction(n - 1))
