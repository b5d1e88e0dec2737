"""Functions that a network spells out in several operators, given the kernel or the fewest that compute them.

GELU, hard-swish and the like are recognized by what they compute, not by how the exporter wrote it: their
operators are read as a polynomial in the input and the one transcendental term. Two operators that TFLite
lacks, ERF and SOFTPLUS, live only until here: `ops` makes them, and what no pattern took is spelled out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass

import numpy as np

from edgecut.targets.tflite import lir, signs
from edgecut.targets.tflite.lir import Graph, Op, Tensor
from edgecut.targets.tflite.picks import pick
from edgecut.targets.tflite.polynomial import READ, Polynomial, close, polynomial, within

_ROOT_HALF = math.sqrt(0.5)
_TANH = math.sqrt(2 / math.pi)
_TERMS = ("ERF", "TANH", "RELU6", "RELU_0_TO_1", "LOGISTIC")
_KINDS = frozenset((*_TERMS, "SOFTPLUS", "SQRT", "GATHER", "SLICE"))
"""Where none of these is, nothing is to be done."""


def run(graph: Graph) -> None:
    """Replace every pattern, then what only patterns understand."""
    if any(op.kind in _KINDS for op in lir.order(graph.values.values())):
        lir.rewrite(graph, _Patterns().rule)
        _spell_out(graph)


class _Patterns:
    def __init__(self) -> None:
        self.numbered: dict[Tensor, bool] = {}
        """Whether any constant is in the chain of sums and products behind a tensor; unknown: maybe."""

    def rule(self, op: Op, uses: Counter[Tensor]) -> Tensor | None:
        """What replaces an operator."""
        if op.kind in READ:
            chain = (t is not None and (t.is_constant or self.numbered.get(t, True)) for t in op.inputs)
            self.numbered[op.output] = op.kind in ("SQUARE", "POW") or any(chain)
        else:
            self.numbered[op.output] = False
        if op.kind in ("GATHER", "SLICE"):
            return pick(op)
        if op.output.dtype != np.float32:
            return None
        if op.kind == "DIV":
            return _root(op)
        return self.activation(op) or _mish(op) if op.kind == "MUL" else None

    def activation(self, op: Op) -> Tensor | None:
        """GELU or hard-swish: a product with an ERF, TANH or limited sum of the input."""
        # Without a number in it, the outer function can only be the product of x and the term.
        near = dict.fromkeys(within(op.output, None if self.numbered[op.output] else 1))
        for term in near:
            argument = term.op.inputs[0] if term.op is not None and term.op.kind in _TERMS else None
            # The inner functions all have numbers in them; gates of a recurrence have none.
            if term.op is None or argument is None or not self.numbered.get(argument, True):
                continue
            for kernel, x in _candidates(term.op.kind, argument, near):
                if x.shape == op.output.shape and close(polynomial(op.output, (x, term)), kernel.outer):
                    return _made(op, kernel, x)
        return None


@dataclass(frozen=True)
class _Kernel:
    """A kernel that computes ``outer(x, term(inner(x)))``."""

    kind: str
    options: dict[str, object]
    term: str
    inner: Polynomial
    outer: Polynomial


def _candidates(term: str, argument: Tensor, near: Container[Tensor]) -> Iterator[tuple[_Kernel, Tensor]]:
    """Kernels with this term, and the ``near`` tensors of which its argument is the right function."""
    for x in within(argument):
        if x not in near:
            continue
        inner = polynomial(argument, (x,))
        yield from ((k, x) for k in _KERNELS if k.term == term and close(inner, k.inner))


# x * (1 + e) / 2, and what e is a function of.
_GATED: Polynomial = {(1, 0): 0.5, (1, 1): 0.5}
_CUBIC: Polynomial = {(1,): _TANH, (3,): _TANH * 0.044715}
_TWICE: Polynomial = {m: 2 * c for m, c in _CUBIC.items()}
_KERNELS = (
    _Kernel("GELU", {"approximate": False}, "ERF", {(1,): _ROOT_HALF}, _GATED),
    # x * erfc(-x / sqrt(2)) / 2, as Keras writes it.
    _Kernel("GELU", {"approximate": False}, "ERF", {(1,): -_ROOT_HALF}, {(1, 0): 0.5, (1, 1): -0.5}),
    _Kernel("GELU", {"approximate": True}, "TANH", _CUBIC, _GATED),
    # The same with 0.5 * (1 + tanh(u)) written as sigmoid(2 u).
    _Kernel(
        "GELU",
        {"approximate": True},
        "LOGISTIC",
        {(1,): 2 * _TANH, (3,): 2 * _TANH * 0.044715},
        {(1, 1): 1.0},
    ),
    _Kernel("HARD_SWISH", {}, "RELU6", {(1,): 1.0, (0,): 3.0}, {(1, 1): 1 / 6}),
    _Kernel("HARD_SWISH", {}, "RELU_0_TO_1", {(1,): 1 / 6, (0,): 0.5}, {(1, 1): 1.0}),
)


def _mish(op: Op) -> Tensor | None:
    """X * tanh(log(1 + exp(x))) as x * n / (n + 2), where n = exp(x) * (exp(x) + 2)."""
    for x, other in (op.inputs[:2], op.inputs[1::-1]):
        tanh = other.op if other is not None else None
        if x is None or tanh is None or tanh.kind != "TANH" or tanh.inputs[0] is None:
            continue
        inner = tanh.inputs[0].op
        if inner is not None and inner.kind == "SOFTPLUS" and inner.inputs[0] is x:
            make = _Maker(op.sources | tanh.sources | inner.sources)
            # Above 20 the factor is 1 to the last bit; the limit keeps the square from overflowing.
            power = make("EXP", make("MINIMUM", x, 20.0))
            n = make("MUL", power, make("ADD", power, 2.0))
            return make("MUL", x, make("DIV", n, make("ADD", n, 2.0)))
    return None


def _root(op: Op) -> Tensor | None:
    """A quotient by a square root, as a product with RSQRT, which is cheap and often much smaller."""
    left, right = op.inputs[:2]
    root = right.op if right is not None else None
    if left is None or root is None or root.kind != "SQRT" or op.options.get("fusedActivationFunction"):
        return None
    # Of zero the kernel makes NaN on some processors.
    if root.inputs[0] is None or not signs.positive(root.inputs[0]):
        return None
    make = _Maker(op.sources | root.sources)
    inverse = make("RSQRT", root.inputs[0])
    if left.is_constant and left.data is not None and left.data.size == 1 and lir.real(left).ravel()[0] == 1:
        return lir.reshape(inverse, op.output.shape, op.sources)
    return make("MUL", left, inverse)


def _made(op: Op, kernel: _Kernel, x: Tensor) -> Tensor:
    sources = frozenset[str]().union(*(o.sources for o in lir.order([op.output], stop=[x])))
    shapes, dtypes = [op.output.shape], [op.output.dtype]
    (out,) = lir.emit(kernel.kind, [x], shapes, dtypes, sources, kernel.options)
    return out


def _spell_out(graph: Graph) -> None:
    """Write what remains of ERF and SOFTPLUS in operators that TFLite has, for dead values too."""
    forward: dict[Tensor, Tensor] = {}
    for op in lir.order(graph.values.values()):
        op.inputs = [None if t is None else lir.resolve(t, forward) for t in op.inputs]
        if op.kind in _SPELLED:
            assert op.inputs[0] is not None
            forward[op.output] = _SPELLED[op.kind](_Maker(op.sources), op.inputs[0])
    graph.redirect(forward)


class _Maker:
    """Makes element-wise operators of tensors and numbers, all from the same nodes."""

    def __init__(self, sources: frozenset[str]) -> None:
        self.sources = sources

    def __call__(self, kind: str, *operands: Tensor | float | None) -> Tensor:
        tensors = [t if isinstance(t, Tensor) else _scalar(t) for t in operands]
        shape = np.broadcast_shapes(*(t.shape for t in tensors))
        (out,) = lir.emit(kind, tensors, [shape], [np.float32], self.sources)
        return out


def _scalar(number: float | None) -> Tensor:
    assert number is not None
    return lir.constant(np.array(number, np.float32))


def _softplus(make: _Maker, x: Tensor) -> Tensor:
    """max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    decay = make("EXP", make("NEG", make("ABS", x)))
    return make("ADD", make("RELU", x), make("LOG", make("ADD", decay, 1.0)))


# Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
_ERF_P = 0.3275911


def _erf(make: _Maker, x: Tensor) -> Tensor:
    """Formula 7.1.26 of Abramowitz and Stegun: off by 1.5e-7 at most, about one step of a float near 1."""
    size = make("ABS", x)
    t = make("DIV", 1.0, make("ADD", make("MUL", size, _ERF_P), 1.0))
    total = make("MUL", t, _ERF[0])
    for coefficient in _ERF[1:]:
        total = make("MUL", t, make("ADD", total, coefficient))
    decay = make("EXP", make("NEG", make("MUL", x, x)))
    return make("MUL", make("SIGN", x), make("SUB", 1.0, make("MUL", total, decay)))


_SPELLED: dict[str, Callable[[_Maker, Tensor], Tensor]] = {"ERF": _erf, "SOFTPLUS": _softplus}
