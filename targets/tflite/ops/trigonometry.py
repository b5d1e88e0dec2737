"""Inverse functions of angles and of hyperbolic functions, by ATAN2 and LOG; NaN and infinity."""

from __future__ import annotations

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import BOOL, Call


def arc_tangent(call: Call) -> Tensor:
    """The angle of (1, x)."""
    call.float_only()
    return call.binary("ATAN2", call.input(0), _like(call, 1.0))


def arc_sine(call: Call) -> Tensor:
    """The angle of (sqrt(1 - x^2), x)."""
    call.float_only()
    return call.binary("ATAN2", call.input(0), _leg(call))


def arc_cosine(call: Call) -> Tensor:
    """The angle of (x, sqrt(1 - x^2))."""
    call.float_only()
    return call.binary("ATAN2", _leg(call), call.input(0))


def area_sine(call: Call) -> Tensor:
    """sign(x) * log(|x| + sqrt(x^2 + 1)), which does not cancel where x is negative."""
    call.float_only()
    x = call.input(0)
    size = call.unary("ABS", x)
    root = call.unary("SQRT", call.binary("ADD", call.binary("MUL", x, x), call.scalar(1.0)))
    return call.binary("MUL", call.unary("SIGN", x), call.unary("LOG", call.binary("ADD", size, root)))


def area_cosine(call: Call) -> Tensor:
    """log(x + sqrt(x^2 - 1))."""
    call.float_only()
    x = call.input(0)
    root = call.unary("SQRT", call.binary("SUB", call.binary("MUL", x, x), call.scalar(1.0)))
    return call.unary("LOG", call.binary("ADD", x, root))


def area_tangent(call: Call) -> Tensor:
    """log((1 + x) / (1 - x)) / 2."""
    call.float_only()
    x, one = call.input(0), call.scalar(1.0)
    ratio = call.binary("DIV", call.binary("ADD", x, one), call.binary("SUB", one, x))
    return call.binary("MUL", call.unary("LOG", ratio), call.scalar(0.5))


def is_nan(call: Call) -> Tensor:
    """What is not equal to itself."""
    call.float_only()
    x = call.input(0)
    return call.binary("NOT_EQUAL", x, x, BOOL)


def is_infinite(call: Call) -> Tensor:
    """What equals infinity, of either sign or of one."""
    call.float_only()
    x = call.input(0)
    if call.attribute("detect_positive", 1) and call.attribute("detect_negative", 1):
        return call.binary("EQUAL", call.unary("ABS", x), call.scalar(np.inf), BOOL)
    if not (call.attribute("detect_positive", 1) or call.attribute("detect_negative", 1)):
        return lir.constant(np.zeros(call.input(0).shape, bool))
    sign = 1 if call.attribute("detect_positive", 1) else -1
    return call.binary("EQUAL", x, call.scalar(sign * np.inf), BOOL)


def _leg(call: Call) -> Tensor:
    """sqrt((1 - x) * (1 + x))."""
    x, one = call.input(0), call.scalar(1.0)
    square = call.binary("MUL", call.binary("SUB", one, x), call.binary("ADD", one, x))
    return call.unary("SQRT", square)


def _like(call: Call, number: float) -> Tensor:
    """A constant of the input's shape: ATAN2 does not broadcast."""
    return lir.constant(np.full(call.input(0).shape, number, np.float32))


LOWERINGS = {
    "Atan": arc_tangent, "Asin": arc_sine, "Acos": arc_cosine,
    "Asinh": area_sine, "Acosh": area_cosine, "Atanh": area_tangent,
    "IsNaN": is_nan, "IsInf": is_infinite,
}  # fmt: skip
