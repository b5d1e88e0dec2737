"""The activation functions of recurrent layers, each with its own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import BOOL, Call

# What is taken where the layer names no alpha, no beta; None: the function has none, or cannot do without.
_DEFAULTS: dict[str, tuple[float | None, float | None]] = {
    "sigmoid": (None, None), "tanh": (None, None), "relu": (None, None), "softsign": (None, None),
    "softplus": (None, None), "elu": (1.0, None), "leakyrelu": (0.01, None), "thresholdedrelu": (1.0, None),
    "hardsigmoid": (0.2, 0.5), "affine": (None, None), "scaledtanh": (None, None),
}  # fmt: skip
_BOTH = ("affine", "scaledtanh", "hardsigmoid")
_KERNELS = {"sigmoid": "LOGISTIC", "tanh": "TANH", "relu": "RELU", "softplus": "SOFTPLUS"}


class Function(NamedTuple):
    """One function: its name in small letters, and its numbers where it has any."""

    name: str
    alpha: float | None = None
    beta: float | None = None

    def apply(self, call: Call, x: Tensor) -> Tensor:
        """The function of a tensor, element by element."""
        if self.name in _KERNELS:
            return call.unary(_KERNELS[self.name], x)
        if self.name == "softsign":
            return call.binary("DIV", x, call.binary("ADD", call.unary("ABS", x), call.scalar(1.0)))
        assert self.alpha is not None
        if self.name == "elu" and self.alpha == 1.0:
            return call.unary("ELU", x)
        alpha = call.scalar(self.alpha)
        if self.name == "elu":
            below = call.unary("ELU", call.binary("MINIMUM", x, call.scalar(0.0)))
            return call.binary("ADD", call.unary("RELU", x), call.binary("MUL", below, alpha))
        if self.name == "leakyrelu":
            return call.unary("LEAKY_RELU", x, alpha=self.alpha)
        if self.name == "thresholdedrelu":
            above = call.binary("GREATER", x, alpha, BOOL)
            return call.emit("SELECT_V2", [above, x, call.scalar(0.0)], x.shape, x.dtype)
        assert self.beta is not None
        beta = call.scalar(self.beta)
        if self.name == "scaledtanh":
            return call.binary("MUL", call.unary("TANH", call.binary("MUL", x, beta)), alpha)
        line = call.binary("ADD", call.binary("MUL", x, alpha), beta)
        return line if self.name == "affine" else call.unary("RELU_0_TO_1", line)


def functions(call: Call, names: Sequence[str]) -> list[Function]:
    """A layer's functions in order; each takes the next alpha and beta if it has one.

    Raises:
        Unsupported: A function is not known, or lacks a number that it cannot do without.
    """
    alphas = list(call.attribute("activation_alpha") or [])
    betas = list(call.attribute("activation_beta") or [])
    found = []
    for name in (n.lower() for n in names):
        call.need(name in _DEFAULTS, f"activation {name}")
        alpha, beta = _DEFAULTS[name]
        if (alpha is not None or name in _BOTH) and alphas:
            alpha = float(alphas.pop(0))
        if name in _BOTH and betas:
            beta = float(betas.pop(0))
        call.need(name not in _BOTH or None not in (alpha, beta), f"activation {name} without alpha and beta")
        found.append(Function(name, alpha, beta))
    return found
