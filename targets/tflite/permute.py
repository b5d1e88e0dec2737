"""How operators look when their tensors are held with permuted dimensions.

An operator that may be moved to another order has a `Mover` here. ``q`` is the order: the operator reads
``transpose(x, q)`` instead of ``x``. The mover says in which order the result then comes, and makes the
operator. Operators without one (convolutions, pools, matrix products) work in the order they have.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Op, Perm, Tensor

UNARY = frozenset((
    "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "LEAKY_RELU", "ELU", "LOGISTIC", "TANH", "HARD_SWISH",
    "GELU", "ABS", "NEG", "EXP", "LOG", "SQRT", "RSQRT", "SQUARE", "SIN", "COS", "FLOOR", "CEIL", "ROUND",
    "SIGN", "LOGICAL_NOT", "CAST", "QUANTIZE", "DEQUANTIZE",
))  # fmt: skip
BINARY = frozenset((
    "ADD", "SUB", "MUL", "DIV", "POW", "FLOOR_MOD", "FLOOR_DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE",
    "EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "LOGICAL_AND", "LOGICAL_OR",
    "SELECT_V2", "PRELU",
))  # fmt: skip
ELEMENTWISE = UNARY | BINARY
REDUCTIONS = frozenset(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "ARG_MAX", "ARG_MIN"))


@dataclass(frozen=True)
class Mover:
    """How one kind of operator is moved to the order ``q``."""

    result: Callable[[Op, Perm], Perm | None]
    """Order of the outputs, or None where ``q`` is impossible."""
    inputs: Callable[[Op, Perm, list[Tensor | None]], list[Tensor | None]]
    """All inputs, given the data inputs in order ``q`` and the others as they were."""
    data: Callable[[Op], Sequence[int]]
    """Which inputs are held in order ``q``."""
    options: Callable[[Op, Perm], dict[str, object]] = lambda op, q: {}
    """Options that change."""


def mover(op: Op) -> Mover | None:
    """How this operator is moved, or None where it must stay in its own order."""
    return MOVERS.get(op.kind)


def permuted(op: Op, q: Perm, inputs: list[Tensor | None]) -> Op:
    """The operator in order ``q``, with its data inputs in that order already."""
    how = MOVERS[op.kind]
    copy = lir.like(op, how.inputs(op, q, inputs), options=how.options(op, q))
    out = how.result(op, q)
    assert out is not None
    for tensor in copy.outputs:
        tensor.shape = tuple(tensor.shape[i] for i in out)
    return copy


def frame(op: Op) -> int:
    """Rank of the tensors that an operator is moved with."""
    how = MOVERS[op.kind]
    ranks = [t.rank for i in how.data(op) if (t := op.inputs[i]) is not None]
    return max(ranks, default=op.output.rank)


def _all(op: Op) -> list[int]:
    """Every input that is no scalar."""
    return [i for i, t in enumerate(op.inputs) if t is not None and t.rank == op.output.rank and t.rank > 0]


def _elementwise(op: Op, q: Perm) -> Perm | None:
    ranks = {t.rank for t in op.inputs if t is not None and t.rank > 0}
    return q if ranks <= {op.output.rank} else None


def _keep(op: Op, q: Perm, inputs: list[Tensor | None]) -> list[Tensor | None]:
    return inputs


def _rows(op: Op, q: Perm, inputs: list[Tensor | None]) -> list[Tensor | None]:
    """Constants with one entry (or row) per dimension, after the data input."""
    fixed = [lir.constant(op.constant(i)[list(q)]) if i in (1, 2, 3) and _per_dim(op, i) else inputs[i]
             for i in range(1, len(inputs))]  # fmt: skip
    return [inputs[0], *fixed]


def _per_dim(op: Op, index: int) -> bool:
    tensor, data = op.inputs[index], op.inputs[0]
    return tensor is not None and data is not None and tensor.rank > 0 and tensor.shape[0] == data.rank


def _constant_rows(op: Op, q: Perm) -> Perm | None:
    return q if all(t is None or t.is_constant for t in op.inputs[1:]) else None


def _axes(op: Op, q: Perm, inputs: list[Tensor | None]) -> list[Tensor | None]:
    return [inputs[0], lir.integers(q.index(int(a)) for a in op.constant(1).ravel())]


def _reduced(op: Op, q: Perm) -> Perm | None:
    if op.options.get("keepDims"):
        return q
    gone = {int(a) for a in op.constant(1).ravel()}
    left = [i for i in range(len(q)) if i not in gone]
    return tuple(left.index(i) for i in q if i not in gone)


def _axis_option(op: Op, q: Perm) -> dict[str, object]:
    return {"axis": q.index(int(op.options["axis"]))}


def _gathered(op: Op, q: Perm) -> Perm | None:
    indices, axis = op.inputs[1], int(op.options["axis"])
    if indices is None or indices.rank > 1 or op.options.get("batchDims"):
        return None
    if indices.rank == 1:
        return q
    return tuple(i - (i > axis) for i in q if i != axis)


def _last_stays(op: Op, q: Perm) -> Perm | None:
    return q if q[-1] == len(q) - 1 else None


def _split(op: Op, q: Perm, inputs: list[Tensor | None]) -> list[Tensor | None]:
    where = 0 if op.kind == "SPLIT" else 2
    axis = lir.integers([q.index(int(op.constant(where).ravel()[0]))])
    return [axis if i == where else t for i, t in enumerate(inputs)]


def _reshaped(op: Op, q: Perm) -> Perm | None:
    x = op.inputs[0]
    assert x is not None
    return carry(x.shape, op.output.shape, q)


def _new_shape(op: Op, q: Perm, inputs: list[Tensor | None]) -> list[Tensor | None]:
    return [inputs[0], lir.integers(_held_shape(op, q))]


def _held_shape(op: Op, q: Perm) -> list[int]:
    out = _reshaped(op, q)
    assert out is not None
    return [op.output.shape[i] for i in out]


def _columns_from(op: Op) -> int:
    """First of the dimensions that a FULLY_CONNECTED reads as one row."""
    x, weights = op.inputs[0], op.inputs[1]
    assert x is not None
    assert weights is not None
    return next(i for i in range(x.rank + 1) if np.prod(x.shape[i:], dtype=np.int64) == weights.shape[1])


def _connected(op: Op, q: Perm) -> Perm | None:
    weights = op.inputs[1]
    if op.options["keepNumDims"]:
        return q if q[-1] == len(q) - 1 else None
    first = _columns_from(op)
    fits = weights is not None and weights.is_constant and q[:first] == tuple(range(first))
    return tuple(range(op.output.rank)) if fits else None


def _weights(op: Op, q: Perm, inputs: list[Tensor | None]) -> list[Tensor | None]:
    """Permute the columns of the weights as the row that they are multiplied with is permuted."""
    x, weights = op.inputs[0], inputs[1]
    if op.options["keepNumDims"] or x is None or weights is None:
        return inputs
    first = _columns_from(op)
    cube = lir.reshape(weights, (weights.shape[0], *x.shape[first:]), op.sources)
    turned = lir.transpose(cube, (0, *(i - first + 1 for i in q[first:])), op.sources)
    return [inputs[0], lir.reshape(turned, weights.shape, op.sources), *inputs[2:]]


def carry(source: Sequence[int], target: Sequence[int], q: Perm) -> Perm | None:
    """The order ``r`` for which reshape(transpose(x, q)) = transpose(reshape(x), r), or None.

    There is one where ``q`` keeps together and in order each run of dimensions that the reshape joins or
    divides. Dimensions of one go with the one of ``source`` in the same place, else with what follows.
    """
    blocks = _blocks(source, target)
    place = {d: i for i, d in enumerate(q)}
    solid = [d for d in q if source[d] != 1]
    rank = {d: i for i, d in enumerate(solid)}
    keys: dict[int, tuple[float, int]] = {}
    for old, new, old_units, new_units in blocks:
        if any(rank[b] != rank[a] + 1 for a, b in itertools.pairwise(old)):
            return None
        start = float(place[old[0]]) if old else float(len(q))
        keys.update({d: (start, d) for d in new})
        keys.update({d: (float(place[o]), d) for o, d in zip(old_units, new_units, strict=False)})
        keys.update({d: (start - 0.5, d) for d in new_units[len(old_units) :]})
    return tuple(sorted(keys, key=lambda d: keys[d]))


_Block = tuple[list[int], list[int], list[int], list[int]]


def _blocks(source: Sequence[int], target: Sequence[int]) -> list[_Block]:
    """Smallest runs of dimensions of equal size: (old, new, ones before old, ones before new)."""
    found: list[_Block] = []
    i = j = 0
    while i < len(source) or j < len(target):
        old_units, new_units = [], []
        while i < len(source) and source[i] == 1:
            old_units.append(i)
            i += 1
        while j < len(target) and target[j] == 1:
            new_units.append(j)
            j += 1
        old, new, left, right = [], [], 1, 1
        while i < len(source) or j < len(target):
            if left <= right and i < len(source):
                left *= source[i]
                old.append(i)
                i += 1
            else:
                right *= target[j]
                new.append(j)
                j += 1
            if left == right:
                break
        solid_old, solid_new = [d for d in old if source[d] != 1], [d for d in new if target[d] != 1]
        ones = [d for d in new if target[d] == 1]
        found.append((solid_old, solid_new + ones, old_units, new_units))
    return found


def _first(op: Op) -> list[int]:
    return [0]


MOVERS: dict[str, Mover] = {
    **dict.fromkeys(ELEMENTWISE, Mover(_elementwise, _keep, _all)),
    **dict.fromkeys(REDUCTIONS, Mover(_reduced, _axes, _first)),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD", "SLICE", "STRIDED_SLICE", "TILE", "BROADCAST_TO"),
                    Mover(_constant_rows, _rows, _first)),
    "CONCATENATION": Mover(lambda op, q: q, _keep, lambda op: range(len(op.inputs)), _axis_option),
    "GATHER": Mover(_gathered, _keep, _first, _axis_option),
    "SOFTMAX": Mover(_last_stays, _keep, _first),
    "LOG_SOFTMAX": Mover(_last_stays, _keep, _first),
    "SPLIT": Mover(lambda op, q: q, _split, lambda op: [1]),
    "SPLIT_V": Mover(lambda op, q: q, _split, _first),
    "RESHAPE": Mover(_reshaped, _new_shape, _first, lambda op, q: {"newShape": _held_shape(op, q)}),
    "FULLY_CONNECTED": Mover(_connected, _weights, _first),
}  # fmt: skip
