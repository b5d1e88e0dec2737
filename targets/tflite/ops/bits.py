"""Operators on the bits of integers: and, or, exclusive or, not, and shifts.

TFLite has kernels for the exclusive or and for shifts to the right. The others follow from arithmetic:
``a + b`` is ``(a ^ b) + 2 * (a & b)``.
"""

from __future__ import annotations

import functools

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import INT32, INT64, Call
from edgecut.targets.tflite.ops.elementwise import check_broadcast

_HALF = 1 << 16
_NARROW = ("int8", "uint8", "int16", "uint16", "int32", "uint32")


def exclusive_or(call: Call) -> Tensor:
    """Bits that differ."""
    a, b = _operands(call)
    return call.binary("BITWISE_XOR", a, b)


def both(sign: int, call: Call) -> Tensor:
    """Bits that are set in both (``sign`` -1) or in any (1): half of a + b + sign * (a ^ b)."""
    a, b = _operands(call)
    own = a.dtype
    a, b = call.cast(a, INT32), call.cast(b, INT32)
    if own.itemsize < 4:
        return call.cast(_half_sum(call, sign, a, b), own)
    # Sums of all 32 bits would wrap, so it is done for the upper and the lower half.
    (upper_a, lower_a), (upper_b, lower_b) = (_halves(call, t) for t in (a, b))
    upper, lower = _half_sum(call, sign, upper_a, upper_b), _half_sum(call, sign, lower_a, lower_b)
    return call.cast(call.binary("ADD", call.binary("MUL", upper, call.scalar(_HALF, INT32)), lower), own)


def _half_sum(call: Call, sign: int, a: Tensor, b: Tensor) -> Tensor:
    total, differ = call.binary("ADD", a, b), call.binary("BITWISE_XOR", a, b)
    return call.binary(
        "RIGHT_SHIFT", call.binary("ADD" if sign > 0 else "SUB", total, differ), call.scalar(1, INT32)
    )


def _halves(call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    upper = call.binary("RIGHT_SHIFT", x, call.scalar(16, INT32))
    return upper, call.binary("SUB", x, call.binary("MUL", upper, call.scalar(_HALF, INT32)))


def inverse(call: Call) -> Tensor:
    """The other bits: -1 - x, in two's complement."""
    x = call.input(0)
    return call.widened([x], (INT32, INT64), lambda t: call.binary("SUB", call.scalar(-1, t[0].dtype), t[0]))


def shift(call: Call) -> Tensor:
    """To the right by a kernel, to the left by a product with a power of two."""
    x, places = _operands(call)
    known, bits = call.known(1), 8 * x.dtype.itemsize
    positive = x.dtype.kind == "u" if known is None else bool((known >= 0).all())
    call.need(positive, "places that are negative, or may be")
    if call.attribute("direction") == "RIGHT":
        return call.binary("RIGHT_SHIFT", x, places)
    wide = INT64 if bits == 32 else INT32
    powers = lir.constant(np.array([1 << i for i in range(bits)] + [0], wide))
    index = call.binary("MINIMUM", call.cast(places, INT32), call.scalar(bits, INT32))
    factor = call.emit("GATHER", [powers, index], places.shape, wide, axis=0, batchDims=0)
    return call.cast(call.binary("MUL", call.cast(x, wide), factor), x.dtype)


def _operands(call: Call) -> tuple[Tensor, Tensor]:
    check_broadcast(call)
    a, b = call.input(0), call.input(1)
    call.need(a.dtype.name in _NARROW, f"type {a.dtype} (up to 32 bits are supported)")
    return a, b


LOWERINGS = {
    "BitwiseXor": exclusive_or,
    "BitwiseAnd": functools.partial(both, -1),
    "BitwiseOr": functools.partial(both, 1),
    "BitwiseNot": inverse,
    "BitShift": shift,
}
