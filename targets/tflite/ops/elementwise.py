"""Arithmetic, comparison and logic, element by element with broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import BOOL, FLOAT, INT32, INT64, Call

NUMBERS = (FLOAT, INT32, INT64)
_LIMIT = 5
"""TFLite broadcasts tensors of at most so many dimensions."""


def binary(kind: str, call: Call, types: tuple[np.dtype[np.generic], ...] = NUMBERS) -> Tensor:
    """Two operands and a result of the same type."""
    _check(call)
    return call.widened([call.input(0), call.input(1)], types, lambda t: call.binary(kind, t[0], t[1]))


def compare(kind: str, call: Call) -> Tensor:
    """Two operands, a boolean result."""
    _check(call)
    types = (*NUMBERS, BOOL) if kind == "EQUAL" else NUMBERS
    return call.widened([call.input(0), call.input(1)], types, lambda t: call.binary(kind, t[0], t[1], BOOL))


def variadic(kind: str, call: Call) -> Tensor:
    """Any number of operands, from left to right."""
    _check(call)
    tensors = [call.input(i) for i in range(len(call.inputs))]
    return call.widened(
        tensors, NUMBERS, functools.partial(functools.reduce, functools.partial(call.binary, kind))
    )


def mean(call: Call) -> Tensor:
    """The average of any number of operands."""
    call.float_only()
    total = variadic("ADD", call)
    return call.binary("MUL", total, call.scalar(1 / len(call.inputs)))


def divide(call: Call) -> Tensor:
    """Division; by a constant it is a multiplication, for which there are faster kernels."""
    left, right = call.input(0), call.input(1)
    _check(call)
    if left.dtype == FLOAT and right.is_constant and np.all(lir.real(right) != 0):
        return call.binary("MUL", left, lir.constant((1 / lir.real(right)).astype(np.float32)))
    return call.widened([left, right], (FLOAT, INT32), lambda t: call.binary("DIV", t[0], t[1]))


def power(call: Call) -> Tensor:
    """Powers; the exponents 2, 1/2 and -1/2 have kernels of their own."""
    base, exponent = call.input(0), call.known(1)
    if base.dtype in (INT32, INT64) and call.input(1).dtype in (INT32, INT64):
        call.need(exponent is None or bool((exponent >= 0).all()), "a negative exponent")
        made = call.binary("POW", call.cast(base, INT32), call.cast(call.input(1), INT32))
        call.need(base.dtype == INT32, f"type {base.dtype}")
        return made
    call.float_only()
    if exponent is not None and exponent.size == 1 and exponent.ndim <= base.rank:
        kind = {2.0: "SQUARE", 0.5: "SQRT", -0.5: "RSQRT"}.get(float(exponent.ravel()[0]))
        if kind is not None:
            return call.unary(kind, base)
    if exponent is not None and call.input(1).dtype != FLOAT:
        return call.binary("POW", base, lir.constant(exponent.astype(np.float32)))
    call.float_only(1)
    return call.binary("POW", base, call.input(1))


def modulo(call: Call) -> Tensor:
    """The remainder with the divisor's sign, or with the dividend's (``fmod=1``)."""
    if not call.attribute("fmod", 0):
        return binary("FLOOR_MOD", call, NUMBERS)
    _check(call)
    return call.widened([call.input(0), call.input(1)], NUMBERS, functools.partial(_signed_remainder, call))


def _signed_remainder(call: Call, operands: Sequence[Tensor]) -> Tensor:
    """|x| mod |y| with the sign of x."""
    x, y = operands
    size = call.binary("FLOOR_MOD", _absolute(call, x), _absolute(call, y))
    zero = lir.constant(np.zeros((1,) * size.rank, x.dtype))
    negative = call.binary("LESS", x, zero, BOOL)
    minus = call.binary("SUB", zero, size)
    shape = np.broadcast_shapes(negative.shape, size.shape)
    return call.emit("SELECT_V2", [negative, minus, size], shape, x.dtype)


def _absolute(call: Call, x: Tensor) -> Tensor:
    return call.binary("MAXIMUM", x, call.binary("SUB", lir.constant(np.zeros((1,) * x.rank, x.dtype)), x))


def where(call: Call) -> Tensor:
    """Choose between two tensors."""
    condition, yes, no = (call.input(i) for i in range(3))
    call.need(yes.dtype in (*NUMBERS, BOOL), f"type {yes.dtype}")
    shape = np.broadcast_shapes(condition.shape, yes.shape, no.shape)
    call.need(len(shape) <= _LIMIT, f"broadcasts {len(shape)} dimensions")
    operands = [call.reshape(t, (1,) * (len(shape) - t.rank) + t.shape) for t in (condition, yes, no)]
    return call.emit("SELECT_V2", operands, shape, yes.dtype)


def xor(call: Call) -> Tensor:
    """Exclusive or: where two booleans differ."""
    _check(call)
    left, right = call.input(0), call.input(1)
    call.need(left.dtype == BOOL, f"type {left.dtype}")
    return call.binary("NOT_EQUAL", left, right, BOOL)


def _check(call: Call) -> None:
    tensors = [call.input(i) for i in range(len(call.inputs))]
    rank = max(t.rank for t in tensors)
    broadcasts = len({t.shape for t in tensors if t.shape}) > 1
    call.need(rank <= _LIMIT or not broadcasts, f"broadcasts {rank} dimensions")


def _of(function: Callable[..., Tensor], kind: str, **fixed: object) -> Callable[[Call], Tensor]:
    return functools.partial(function, kind, **fixed)


LOWERINGS = {
    "Add": _of(binary, "ADD"),
    "Sub": _of(binary, "SUB"),
    "Mul": _of(binary, "MUL"),
    "Div": divide,
    "Pow": power,
    "Mod": modulo,
    "Max": _of(variadic, "MAXIMUM"),
    "Min": _of(variadic, "MINIMUM"),
    "Sum": _of(variadic, "ADD"),
    "Mean": mean,
    "Equal": _of(compare, "EQUAL"),
    "Greater": _of(compare, "GREATER"),
    "GreaterOrEqual": _of(compare, "GREATER_EQUAL"),
    "Less": _of(compare, "LESS"),
    "LessOrEqual": _of(compare, "LESS_EQUAL"),
    "And": _of(binary, "LOGICAL_AND", types=(BOOL,)),
    "Or": _of(binary, "LOGICAL_OR", types=(BOOL,)),
    "Xor": xor,
    "Where": where,
}
