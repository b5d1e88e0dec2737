"""Reads a chain of sums and products as a polynomial, so that a pattern need not care how it is written."""

from __future__ import annotations

from collections.abc import Iterator

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor

Polynomial = dict[tuple[int, ...], float]
"""Coefficient of each product of powers: ``{(2, 1): 3.0}`` is 3 x^2 y."""

READ = frozenset(("ADD", "SUB", "MUL", "DIV", "NEG", "SQUARE", "POW"))
"""Operators that polynomials are made of."""
_DEPTH = 8
"""Operators in a chain at most: those of a tanh GELU are seven."""


def polynomial(tensor: Tensor, symbols: tuple[Tensor, ...], depth: int = _DEPTH) -> Polynomial | None:
    """A tensor as a polynomial in ``symbols``, or None where it is no such thing."""
    if tensor in symbols:
        return {tuple(int(s is tensor) for s in symbols): 1.0}
    if tensor.data is not None:
        return {(0,) * len(symbols): float(lir.real(tensor).ravel()[0])} if tensor.data.size == 1 else None
    op = tensor.op
    if op is None or depth == 0 or op.kind not in READ or op.options.get("fusedActivationFunction"):
        return None
    terms = [polynomial(t, symbols, depth - 1) for t in op.inputs if t is not None]
    first = terms[0]
    if first is None or any(t is None for t in terms):
        return None
    second = terms[1] if len(terms) > 1 else None
    return _combined(op.kind, first, second)


def _combined(kind: str, first: Polynomial, second: Polynomial | None) -> Polynomial | None:
    if kind == "NEG":
        return {m: -c for m, c in first.items()}
    if kind == "SQUARE":
        return _product(first, first)
    assert second is not None
    if kind in ("ADD", "SUB"):
        sign = 1 if kind == "ADD" else -1
        return {m: first.get(m, 0.0) + sign * second.get(m, 0.0) for m in {**first, **second}}
    if kind == "MUL":
        return _product(first, second)
    number = _number(second)
    if number is None:
        return None
    if kind == "DIV":
        return {m: c / number for m, c in first.items()} if number else None
    if number not in (2.0, 3.0):
        return None
    square = _product(first, first)
    return square if number == 2.0 else _product(square, first)


def _number(p: Polynomial) -> float | None:
    constant = [c for m, c in p.items() if not any(m)]
    return constant[0] if len(constant) == len(p) == 1 else None


def _product(first: Polynomial, second: Polynomial) -> Polynomial:
    found: Polynomial = {}
    for m, c in first.items():
        for n, d in second.items():
            key = tuple(a + b for a, b in zip(m, n, strict=True))
            found[key] = found.get(key, 0.0) + c * d
    return found


def close(found: Polynomial | None, wanted: Polynomial) -> bool:
    """Whether two polynomials have the same coefficients, as exactly as constants are written in float32."""
    if found is None:
        return False
    return all(
        abs(found.get(m, 0.0) - wanted.get(m, 0.0)) <= 1e-5 * abs(wanted.get(m, 0.0)) + 1e-12
        for m in {**found, **wanted}
    )


def within(tensor: Tensor, depth: int | None = None) -> Iterator[Tensor]:
    """What a chain of sums and products may have been computed from, nearest first; no constants.

    Args:
        tensor: The end of the chain.
        depth: Operators in it at most.
    """
    seen: dict[Tensor, None] = {}
    level = [tensor]
    for _ in range((_DEPTH if depth is None else depth) + 1):
        if not level:
            break
        seen.update(dict.fromkeys(level))
        makers = [t.op for t in level if t.op is not None and t.op.kind in READ]
        reads = [t for op in makers for t in op.inputs if t is not None and not t.is_constant]
        level = [t for t in dict.fromkeys(reads) if t not in seen]
    return iter(seen)
