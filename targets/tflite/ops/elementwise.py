"""Arithmetic, comparison and logic, element by element with broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from edgecut.targets.tflite import lir, signs
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import BOOL, BROADCAST, FLOAT, INT32, INT64, Call, merged

NUMBERS = (FLOAT, INT32, INT64)
_MOVES = ("RESHAPE", "TRANSPOSE", "GATHER", "GATHER_ND", "SLICE", "STRIDED_SLICE", "TILE", "BROADCAST_TO")
_FITTING = ("int32", "int16", "uint16", "int8", "uint8", "bool")
NARROW = ("int8", "uint8", "int16", "uint16")
"""Types all of whose numbers 32 bits hold."""
_PRODUCTS = 8
"""A power of integers up to this one is a product."""


def binary(kind: str, call: Call, types: tuple[np.dtype[np.generic], ...] = NUMBERS) -> Tensor:
    """Two operands and a result of the same type."""
    check_broadcast(call)
    return call.widened([call.input(0), call.input(1)], types, lambda t: call.binary(kind, t[0], t[1]))


def compare(kind: str, call: Call) -> Tensor:
    """Two operands, a boolean result."""
    check_broadcast(call)
    types = (*NUMBERS, BOOL) if kind == "EQUAL" else NUMBERS
    return call.widened([call.input(0), call.input(1)], types, lambda t: call.binary(kind, t[0], t[1], BOOL))


def variadic(kind: str, call: Call) -> Tensor:
    """Any number of operands, from left to right."""
    check_broadcast(call)
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
    check_broadcast(call)
    if left.dtype == FLOAT and right.is_constant and np.all(lir.real(right) != 0):
        return call.binary("MUL", left, lir.constant((1 / lir.real(right)).astype(np.float32)))
    return call.widened([left, right], NUMBERS, functools.partial(_quotient, call))


def _quotient(call: Call, operands: Sequence[Tensor]) -> Tensor:
    """Rounded towards zero for integers; no kernel divides wide ones, but many are narrow inside."""
    x, y = operands
    if x.dtype != INT64:
        return call.binary("DIV", x, y)
    call.need(is_narrow(x) and is_narrow(y), "type int64, of numbers that may need more than 32 bits")
    return call.cast(call.binary("DIV", call.cast(x, INT32), call.cast(y, INT32)), INT64)


def is_narrow(tensor: Tensor) -> bool:
    """Whether 64-bit integers are known to fit into 32 bits: indices, and what was cast."""
    if tensor.data is not None:
        return bool((np.abs(tensor.data.astype(np.float64)) < 1 << 31).all())
    op = tensor.op
    while op is not None and op.kind in _MOVES and op.inputs[0] is not None:
        if op.inputs[0].data is not None:
            return is_narrow(op.inputs[0])
        op = op.inputs[0].op
    if op is None or op.inputs[0] is None:
        return False
    return op.kind in ("ARG_MAX", "ARG_MIN") or (op.kind == "CAST" and op.inputs[0].dtype.name in _FITTING)


def power(call: Call) -> Tensor:
    """Powers; the exponents 2, 1/2 and -1/2 have kernels of their own."""
    base, exponent = call.input(0), call.known(1)
    if base.dtype in (INT32, INT64) and call.input(1).dtype in (INT32, INT64):
        call.need(exponent is None or bool((exponent >= 0).all()), "a negative exponent")
        if exponent is not None and exponent.size == 1 and 0 < exponent.ravel()[0] <= _PRODUCTS:
            return functools.reduce(functools.partial(call.binary, "MUL"), [base] * int(exponent.ravel()[0]))
        call.need(base.dtype == INT32, f"type {base.dtype}")
        return call.binary("POW", base, call.cast(call.input(1), INT32))
    call.float_only()
    if exponent is not None and exponent.size == 1 and exponent.ndim <= base.rank:
        kind = {2.0: "SQUARE", 0.5: "SQRT", -0.5: "RSQRT"}.get(float(exponent.ravel()[0]))
        # Of zero the kernel of RSQRT makes NaN on some processors.
        if kind is not None and (kind != "RSQRT" or signs.positive(base)):
            return call.unary(kind, base)
    if exponent is not None and call.input(1).dtype != FLOAT:
        return call.binary("POW", base, lir.constant(exponent.astype(np.float32)))
    call.float_only(1)
    return call.binary("POW", base, call.input(1))


def modulo(call: Call) -> Tensor:
    """The remainder with the divisor's sign, or with the dividend's (``fmod=1``)."""
    if not call.attribute("fmod", 0):
        return binary("FLOOR_MOD", call, NUMBERS)
    check_broadcast(call)
    return call.widened([call.input(0), call.input(1)], NUMBERS, functools.partial(_signed_remainder, call))


def _signed_remainder(call: Call, operands: Sequence[Tensor]) -> Tensor:
    """|x| mod |y| with the sign of x."""
    x, y = operands
    size = call.binary("FLOOR_MOD", _absolute(call, x), _absolute(call, y))
    return _negated_where(call, _is_negative(call, x), size)


def _is_negative(call: Call, x: Tensor) -> Tensor:
    return call.binary("LESS", x, lir.constant(np.zeros((1,) * x.rank, x.dtype)), BOOL)


def _negated_where(call: Call, negative: Tensor, size: Tensor) -> Tensor:
    minus = call.binary("SUB", lir.constant(np.zeros((1,) * size.rank, size.dtype)), size)
    negative = call.reshape(negative, (1,) * (size.rank - negative.rank) + negative.shape)
    return call.emit("SELECT_V2", [negative, minus, size], size.shape, size.dtype)


def _absolute(call: Call, x: Tensor) -> Tensor:
    return call.binary("MAXIMUM", x, call.binary("SUB", lir.constant(np.zeros((1,) * x.rank, x.dtype)), x))


def where(call: Call) -> Tensor:
    """Choose between two tensors."""
    check_broadcast(call)
    condition, yes, no = (call.input(i) for i in range(3))
    shape = np.broadcast_shapes(condition.shape, yes.shape, no.shape)

    def choose(chosen: Sequence[Tensor]) -> Tensor:
        operands, few = call.broadcast(condition, *chosen)
        return call.reshape(call.emit("SELECT_V2", operands, few, chosen[0].dtype), shape)

    return call.widened([yes, no], (*NUMBERS, BOOL), choose)


def xor(call: Call) -> Tensor:
    """Exclusive or: where two booleans differ."""
    check_broadcast(call)
    left, right = call.input(0), call.input(1)
    call.need(left.dtype == BOOL, f"type {left.dtype}")
    return call.binary("NOT_EQUAL", left, right, BOOL)


def check_broadcast(call: Call) -> None:
    """Refuse what broadcasts more dimensions than kernels can."""
    shapes = [call.input(i).shape for i in range(len(call.inputs))]
    rank = max(map(len, shapes))
    runs = merged([(1,) * (rank - len(s)) + s for s in shapes])
    broadcasts = len({s for s in shapes if s}) > 1
    call.need(len(runs) <= BROADCAST or not broadcasts, f"broadcasts {rank} dimensions")


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
