"""LEAKY_RELU on int8: the kernel multiplies with whole 256ths, and rounds halves upwards."""

from __future__ import annotations

import math

PARTS = 256
_NEAR = 5e-4
"""How far from whole a number of 256ths may be: of 255 steps that makes half of what moves halves upwards."""


def exact(ratio: float, slope: float) -> bool:
    """Whether the kernel's multipliers are the program's.

    Args:
        ratio: Scale of the input over that of the result.
        slope: Of the negative side.
    """
    return all(p >= 0.5 and abs(p - round(p)) < _NEAR for p in (PARTS * ratio, PARTS * ratio * slope))


def ratio(wanted: float, slope: float, *, above: bool) -> float | None:
    """The ratio of scales within 5 % with which the kernel's slope is nearest to the one wanted.

    Args:
        wanted: A ratio that is not to be gone below, or not above.
        slope: Of the negative side.
        above: Which of the two.
    """
    least, most = (wanted, 1.05 * wanted) if above else (0.95 * wanted, wanted)
    whole = range(math.ceil(PARTS * least - _NEAR), math.floor(PARTS * most + _NEAR) + 1)
    found = min(whole, key=lambda p: (_off(p * slope), abs(p / PARTS - wanted)), default=0)
    return found / PARTS or None


def _off(number: float) -> float:
    """How far a number is from a whole one, to what counts."""
    return round(abs(number - round(number)), 3)


def slope(of: float, wanted: float) -> float:
    """The slope that the kernel has at a ratio of scales; the one wanted where the kernel has none."""
    steps = round(PARTS * of * wanted)
    if exact(of, wanted) or not exact(of, steps / (PARTS * of)):
        return wanted
    return steps / round(PARTS * of)
