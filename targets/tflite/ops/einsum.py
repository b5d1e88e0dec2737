"""Einsum of one or two operands: transposes around a matrix product, and sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import Call
from edgecut.targets.tflite.ops.reduce import total


def einsum(call: Call) -> Tensor:
    """What is in both operands and the result is a batch; what is in both alone is summed over."""
    count = len(call.inputs)
    call.float_only(*range(count))
    call.need(count <= 2, f"{count} operands")
    terms, result = _parse(call)
    for term in terms:
        call.need(len(set(term)) == len(term), f"a diagonal in {term}")
    sizes: dict[str, int] = {}
    for i, term in enumerate(terms):
        shape = call.input(i).shape
        call.need(
            all(sizes.setdefault(c, n) == n for c, n in zip(term, shape, strict=True)), "a broadcast label"
        )
    operands = [
        _summed(call, call.input(i), term, _others(terms, i) + result) for i, term in enumerate(terms)
    ]
    if count == 1:
        tensor, labels = operands[0]
        return _ordered(call, tensor, labels, result)
    return _product(call, operands[0], operands[1], result)


def _parse(call: Call) -> tuple[list[str], str]:
    equation = call.attribute("equation").replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if "..." in equation:
        # Letters of their own for what the ellipsis stands for, counted from the right.
        ranks = [call.input(i).rank - len(t) + 3 for i, t in enumerate(terms) if "..." in t]
        spare = "".join(c for c in "ABCDEFGHIJKLMNOP" if c not in equation)[: max(ranks)]
        sizes = iter(ranks)
        terms = [t.replace("...", spare[len(spare) - next(sizes) :]) if "..." in t else t for t in terms]
        call.need(bool(arrow), "an ellipsis without a result")
        result = result.replace("...", spare)
    if not arrow:
        letters = sorted(set("".join(terms)))
        result = "".join(c for c in letters if "".join(terms).count(c) == 1)
    return terms, result


def _others(terms: Sequence[str], index: int) -> str:
    return "".join(t for i, t in enumerate(terms) if i != index)


def _summed(call: Call, tensor: Tensor, labels: str, needed: str) -> tuple[Tensor, str]:
    """Sum over what is neither in the other operand nor in the result."""
    gone = [i for i, c in enumerate(labels) if c not in needed]
    if not gone:
        return tensor, labels
    return total(call, "SUM", tensor, gone, False), "".join(c for c in labels if c in needed)


def _ordered(call: Call, tensor: Tensor, labels: str, result: str) -> Tensor:
    return call.transpose(tensor, [labels.index(c) for c in result])


def _product(call: Call, left: tuple[Tensor, str], right: tuple[Tensor, str], result: str) -> Tensor:
    (a, ours), (b, theirs) = left, right
    batch = [c for c in ours if c in theirs and c in result]
    inner = [c for c in ours if c in theirs and c not in result]
    rows = [c for c in ours if c not in theirs]
    columns = [c for c in theirs if c not in ours]
    sizes = dict(zip(ours + theirs, a.shape + b.shape, strict=True))

    def size(labels: Sequence[str]) -> int:
        return int(np.prod([sizes[c] for c in labels], dtype=np.int64))

    a = call.transpose(a, [ours.index(c) for c in (*batch, *rows, *inner)])
    b = call.transpose(b, [theirs.index(c) for c in (*batch, *inner, *columns)])
    a = call.reshape(a, (size(batch), size(rows), size(inner)))
    b = call.reshape(b, (size(batch), size(inner), size(columns)))
    shape = (size(batch), size(rows), size(columns))
    out = call.emit("BATCH_MATMUL", [a, b], shape, adjX=False, adjY=False, asymmetricQuantizeInputs=False)
    labels = [*batch, *rows, *columns]
    out = call.reshape(out, [sizes[c] for c in labels])
    return _ordered(call, out, "".join(labels), result)


LOWERINGS = {"Einsum": einsum}
