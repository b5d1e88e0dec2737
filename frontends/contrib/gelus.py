"""Gelu in its ways: exact, by tanh, by sigmoid, with a bias before."""

from __future__ import annotations

import math

from edgecut.frontends.contrib.writer import Expansion, Writer

_GELU = math.sqrt(2 / math.pi)


def _gelu(*, tanh: bool, bias: bool) -> Expansion:
    def expansion(w: Writer) -> bool:
        x = w.make("Add", w.input(0), w.input(1)) if bias and w.input(1) else w.input(0)
        if tanh:
            cube = w.make("Mul", w.make("Mul", x, x), x)
            inner = w.make("Add", x, w.make("Mul", cube, w.constant(0.044715)))
            term = w.make("Tanh", w.make("Mul", inner, w.constant(_GELU)))
        else:
            term = w.make("Erf", w.make("Div", x, w.constant(math.sqrt(2))))
        half = w.make("Mul", x, w.constant(0.5))
        w.make("Mul", half, w.make("Add", term, w.constant(1.0)), out=w.output(0))
        return True

    return expansion


def _quick_gelu(w: Writer) -> bool:
    scaled = w.make("Mul", w.input(0), w.constant(float(w.get("alpha", 1.702))))
    w.make("Mul", w.input(0), w.make("Sigmoid", scaled), out=w.output(0))
    return True


EXPANSIONS: dict[str, Expansion] = {
    "Gelu": _gelu(tanh=False, bias=False),
    "BiasGelu": _gelu(tanh=False, bias=True),
    "FastGelu": _gelu(tanh=True, bias=True),
    "QuickGelu": _quick_gelu,
}
