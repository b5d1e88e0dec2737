"""Functions of one tensor, element by element."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import BOOL, FLOAT, INT32, INT64, Call, read_as

NUMBERS = (FLOAT, INT32, INT64)


def direct(kind: str, call: Call, types: tuple[np.dtype[np.generic], ...] = (FLOAT,)) -> Tensor:
    """A function that TFLite has a kernel for."""
    return call.widened([call.input(0)], types, lambda t: call.unary(kind, t[0]))


def absolute(call: Call) -> Tensor:
    """|x|; of wide integers the larger of x and -x."""

    def compute(operands: Sequence[Tensor]) -> Tensor:
        (x,) = operands
        return call.unary("ABS", x) if x.dtype != INT64 else call.binary("MAXIMUM", x, call.unary("NEG", x))

    return call.widened([call.input(0)], NUMBERS, compute)


def sign(call: Call) -> Tensor:
    """-1, 0 or 1; of wide integers by comparisons."""

    def compute(operands: Sequence[Tensor]) -> Tensor:
        (x,) = operands
        if x.dtype != INT64:
            return call.unary("SIGN", x)
        above, below = (call.binary(kind, x, call.scalar(0, INT64), BOOL) for kind in ("GREATER", "LESS"))
        return call.cast(call.binary("SUB", call.cast(above, INT32), call.cast(below, INT32)), INT64)

    return call.widened([call.input(0)], NUMBERS, compute)


def relu(call: Call) -> Tensor:
    """max(x, 0)."""
    x = call.input(0)
    if read_as(x) == FLOAT:
        return call.unary("RELU", x)
    return call.widened(
        [x], (INT32, INT64), lambda t: call.binary("MAXIMUM", t[0], call.scalar(0, t[0].dtype))
    )


def clip(call: Call) -> Tensor:
    """Limit to a range; the ranges of ReLU, ReLU6 and the like have kernels of their own."""
    x = call.input(0)
    if any(call.has(i) and call.known(i) is None for i in (1, 2)):
        return call.widened(
            [call.input(i) for i in range(3) if call.has(i)],
            (FLOAT, INT32, INT64),
            functools.partial(_between, call),
        )
    low, high = _bounds(call)
    if read_as(x) != FLOAT:
        return call.widened([x], (INT32, INT64), lambda t: _limited(call, t[0], low, high))
    call.float_only()
    kind = {
        (0.0, 6.0): "RELU6",
        (0.0, 1.0): "RELU_0_TO_1",
        (-1.0, 1.0): "RELU_N1_TO_1",
        (0.0, np.inf): "RELU",
    }
    if (low, high) in kind:
        return call.unary(kind[low, high], x)
    return _limited(call, x, low, high)


def _between(call: Call, operands: Sequence[Tensor]) -> Tensor:
    """Limits that are computed."""
    x, *limits = operands
    kinds = ["MAXIMUM"] * call.has(1) + ["MINIMUM"] * call.has(2)
    for kind, limit in zip(kinds, limits, strict=True):
        x = call.binary(kind, x, limit)
    return x


def _limited(call: Call, x: Tensor, low: float, high: float) -> Tensor:
    if np.isfinite(low) or low > high:
        x = call.binary("MAXIMUM", x, call.scalar(low, x.dtype))
    return call.binary("MINIMUM", x, call.scalar(high, x.dtype)) if np.isfinite(high) else x


def leaky_relu(call: Call) -> Tensor:
    """X where positive, alpha * x elsewhere."""
    call.float_only()
    return call.unary("LEAKY_RELU", call.input(0), alpha=float(call.attribute("alpha", 0.01)))


def elu(call: Call) -> Tensor:
    """Alpha * (exp(x) - 1) where negative."""
    call.float_only()
    x, alpha = call.input(0), float(call.attribute("alpha", 1.0))
    if alpha == 1.0:
        return call.unary("ELU", x)
    return _piecewise(call, x, 1.0, alpha)


def selu(call: Call) -> Tensor:
    """Gamma * (x where positive, alpha * (exp(x) - 1) elsewhere)."""
    call.float_only()
    gamma = float(call.attribute("gamma", 1.05070102214813232421875))
    alpha = float(call.attribute("alpha", 1.67326319217681884765625))
    return _piecewise(call, call.input(0), gamma, gamma * alpha)


def celu(call: Call) -> Tensor:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    call.float_only()
    x, alpha = call.input(0), float(call.attribute("alpha", 1.0))
    inner = call.unary("ELU", call.binary("MUL", x, call.scalar(1 / alpha)))
    return call.binary("MUL", inner, call.scalar(alpha))


def hard_sigmoid(call: Call) -> Tensor:
    """Limit alpha * x + beta to 0..1."""
    call.float_only()
    alpha, beta = float(call.attribute("alpha", 0.2)), float(call.attribute("beta", 0.5))
    x = call.input(0)
    if abs(alpha * 6 - 1) < 1e-6 and beta == 0.5:
        return call.binary(
            "MUL", call.unary("RELU6", call.binary("ADD", x, call.scalar(3.0))), call.scalar(1 / 6)
        )
    scaled = call.binary("ADD", call.binary("MUL", x, call.scalar(alpha)), call.scalar(beta))
    return call.unary("RELU_0_TO_1", scaled)


def swish(call: Call) -> Tensor:
    """X * sigmoid(alpha * x)."""
    call.float_only()
    x, alpha = call.input(0), float(call.attribute("alpha", 1.0))
    scaled = x if alpha == 1.0 else call.binary("MUL", x, call.scalar(alpha))
    return call.binary("MUL", x, call.unary("LOGISTIC", scaled))


def softplus(call: Call) -> Tensor:
    """log(1 + exp(x)); TFLite has no such operator, `patterns` spells it out."""
    call.float_only()
    return call.unary("SOFTPLUS", call.input(0))


def erf(call: Call) -> Tensor:
    """The error function; TFLite has no such operator, `patterns` makes GELU of it, or spells it out."""
    call.float_only()
    return call.unary("ERF", call.input(0))


def mish(call: Call) -> Tensor:
    """X * tanh(softplus(x))."""
    call.float_only()
    x = call.input(0)
    return call.binary("MUL", x, call.unary("TANH", call.unary("SOFTPLUS", x)))


def softsign(call: Call) -> Tensor:
    """X / (1 + |x|)."""
    call.float_only()
    x = call.input(0)
    return call.binary("DIV", x, call.binary("ADD", call.unary("ABS", x), call.scalar(1.0)))


def thresholded_relu(call: Call) -> Tensor:
    """X where above alpha, 0 elsewhere."""
    call.float_only()
    x = call.input(0)
    above = call.binary("GREATER", x, call.scalar(float(call.attribute("alpha", 1.0))), BOOL)
    return call.emit("SELECT_V2", [above, x, call.scalar(0.0)], x.shape, x.dtype)


def shrink(call: Call) -> Tensor:
    """X + bias below -lambd, x - bias above lambd, 0 between."""
    call.float_only()
    x, bias, lambd = call.input(0), float(call.attribute("bias", 0.0)), float(call.attribute("lambd", 0.5))
    low = call.binary("LESS", x, call.scalar(-lambd), BOOL)
    high = call.binary("GREATER", x, call.scalar(lambd), BOOL)
    upper = call.binary("SUB", x, call.scalar(bias))
    inner = call.emit("SELECT_V2", [high, upper, call.scalar(0.0)], x.shape, x.dtype)
    return call.emit("SELECT_V2", [low, call.binary("ADD", x, call.scalar(bias)), inner], x.shape, x.dtype)


def gelu(call: Call) -> Tensor:
    """X * Phi(x), exactly or by tanh."""
    call.float_only()
    return call.unary("GELU", call.input(0), approximate=call.attribute("approximate", "none") == "tanh")


def prelu(call: Call) -> Tensor:
    """X where positive, slope * x elsewhere; the slope is broadcast."""
    call.float_only()
    x, slope = call.input(0), call.input(1)
    if slope.is_constant and slope.data is not None and slope.data.size == 1 and slope.quant is None:
        return call.unary("LEAKY_RELU", x, alpha=float(slope.data.ravel()[0]))
    call.need(slope.rank <= x.rank <= 5, f"rank {x.rank}")
    slope = call.reshape(slope, (1,) * (x.rank - slope.rank) + slope.shape)
    if x.rank > 4:
        below = call.binary("MINIMUM", x, call.scalar(0.0))
        return call.binary("ADD", call.unary("RELU", x), call.binary("MUL", below, slope))
    return call.emit("PRELU", [x, slope], x.shape)


def reciprocal(call: Call) -> Tensor:
    """1 / x."""
    call.float_only()
    return call.binary("DIV", call.scalar(1.0), call.input(0))


def identity(call: Call) -> Tensor:
    """The input itself."""
    return call.input(0)


def dropout(call: Call) -> Sequence[Tensor]:
    """The input itself, outside training, and a mask that keeps all of it."""
    training = call.known(2)
    call.need(not call.has(2) or (training is not None and not training.any()), "training mode")
    return [call.input(0), lir.constant(np.ones(call.input(0).shape, bool))]


def tangent(call: Call) -> Tensor:
    """sin(x) / cos(x)."""
    call.float_only()
    x = call.input(0)
    return call.binary("DIV", call.unary("SIN", x), call.unary("COS", x))


def hyperbolic(sign: int, call: Call) -> Tensor:
    """(exp(x) + sign * exp(-x)) / 2."""
    call.float_only()
    x = call.input(0)
    up, down = call.unary("EXP", x), call.unary("EXP", call.unary("NEG", x))
    both = call.binary("ADD" if sign > 0 else "SUB", up, down)
    return call.binary("MUL", both, call.scalar(0.5))


def _bounds(call: Call) -> tuple[float, float]:
    low, high = call.attribute("min"), call.attribute("max")
    if call.has(1):
        low = float(call.constant(1, "minimum").ravel()[0])
    if call.has(2):
        high = float(call.constant(2, "maximum").ravel()[0])
    top = float(np.finfo(np.float32).max)
    low = -np.inf if low is None or low <= -top else float(low)
    return low, np.inf if high is None or high >= top else float(high)


def _piecewise(call: Call, x: Tensor, positive: float, negative: float) -> Tensor:
    """Positive * x where x > 0, negative * (exp(x) - 1) elsewhere."""
    right = call.binary("MUL", call.unary("RELU", x), call.scalar(positive))
    left = call.binary(
        "MUL", call.unary("ELU", call.binary("MINIMUM", x, call.scalar(0.0))), call.scalar(negative)
    )
    return call.binary("ADD", right, left)


def _of(kind: str, *types: np.dtype[np.generic]) -> Callable[[Call], Tensor]:
    return functools.partial(direct, kind, types=types or (FLOAT,))


LOWERINGS = {
    "Relu": relu, "Clip": clip, "LeakyRelu": leaky_relu, "PRelu": prelu,
    "Elu": elu, "Selu": selu, "Celu": celu, "ThresholdedRelu": thresholded_relu, "Shrink": shrink,
    "Sigmoid": _of("LOGISTIC"), "HardSigmoid": hard_sigmoid, "HardSwish": _of("HARD_SWISH"),
    "Swish": swish, "Gelu": gelu,
    "Softplus": softplus, "Erf": erf, "Softsign": softsign, "Mish": mish,
    "Tanh": _of("TANH"), "Sin": _of("SIN"), "Cos": _of("COS"), "Tan": tangent,
    "Sinh": functools.partial(hyperbolic, -1), "Cosh": functools.partial(hyperbolic, 1),
    "Exp": _of("EXP"), "Log": _of("LOG"), "Sqrt": _of("SQRT"), "Reciprocal": reciprocal,
    "Abs": absolute, "Sign": sign,
    "Neg": _of("NEG", FLOAT, INT32, INT64),
    "Floor": _of("FLOOR"), "Ceil": _of("CEIL"), "Round": _of("ROUND"), "Not": _of("LOGICAL_NOT", BOOL),
    "Identity": identity, "Dropout": dropout,
}  # fmt: skip
