"""Attention head by head: no tensor has to be turned so that the heads come before the tokens.

Exported attention makes queries, keys and values for all heads at once, transposes them, multiplies them
in batches, and transposes back. Each head alone is a few matrix products on [tokens, size], and what it
needs of the projections are rows of their weights. So where a TRANSPOSE puts the heads back behind the
tokens, its result is made as the concatenation of the heads, each computed from the inputs of the
projections; all that happened between (slices, reshapes, transposes) is done to the weights, once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from edgecut.targets.tflite import lir, permute
from edgecut.targets.tflite.lir import Graph, Op, Quant, Tensor

_MOST = 16
"""Heads up to which this is done: each is a matrix product of its own."""


def run(graph: Graph) -> None:
    """Rewrite every attention that allows it."""
    if any(op.kind == "BATCH_MATMUL" for op in lir.order(graph.values.values())):
        lir.rewrite(graph, _joined)


def _joined(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    """A RESHAPE [N, T, H, D] -> [N, T, H * D] of a TRANSPOSE from [N, H, T, D], head by head."""
    turn = op.inputs[0].op if op.kind == "RESHAPE" and op.inputs[0] is not None else None
    if turn is None or turn.kind != "TRANSPOSE" or tuple(turn.constant(1)) != (0, 2, 1, 3):
        return None
    x = turn.inputs[0]
    if x is None or not _is_product(x):
        return None
    batch, heads, tokens, size = x.shape
    if op.output.shape != (batch, tokens, heads * size) or not 1 < heads <= _MOST or batch != 1:
        return None
    cutter = _Cutter()
    found = [row for h in range(heads) if (row := cutter.row(x, 1, h)) is not None]
    if len(found) < heads:
        return None
    sources = op.sources | turn.sources
    (out,) = lir.emit(
        "CONCATENATION", found, [op.output.shape], [op.output.dtype], sources,
        {"axis": 2, "fusedActivationFunction": 0},
    )  # fmt: skip
    out.quant = op.output.quant
    return out


def _is_product(x: Tensor) -> bool:
    """Whether a matrix product makes it, perhaps with the batch dimensions joined."""
    op = x.op
    while op is not None and op.kind == "RESHAPE" and op.inputs[0] is not None:
        op = op.inputs[0].op
    return op is not None and op.kind == "BATCH_MATMUL"


@dataclass(frozen=True)
class _Range:
    """Which indices along one axis are wanted."""

    axis: int
    start: int
    size: int


@dataclass
class _Cutter:
    """Computes parts of tensors from parts of what they are computed from; None where all would be needed."""

    known: dict[tuple[Tensor, _Range], Tensor | None] = field(default_factory=dict)

    def row(self, tensor: Tensor, axis: int, index: int) -> Tensor | None:
        """``tensor`` at one index of an axis, without that axis (but of three dimensions at least)."""
        key = (tensor, _Range(axis, index, 0))
        if key not in self.known:
            self.known[key] = self._row(tensor, axis, index)
        return self.known[key]

    def _row(self, tensor: Tensor, axis: int, index: int) -> Tensor | None:
        op = tensor.op
        shape = _without(tensor.shape, axis)
        if op is not None and op.kind == "RESHAPE":
            x, own = op.inputs[0], _kept(op, axis)
            found = None if x is None or own is None else self.row(x, own, index)
            if found is not None:
                return lir.reshape(found, shape, op.sources)
        batched = op is not None and op.kind == "BATCH_MATMUL" and axis < tensor.rank - 2
        softmax = op is not None and op.kind == "SOFTMAX" and axis < tensor.rank - 1
        if op is None or not (batched or softmax or op.kind in permute.ELEMENTWISE):
            part = tensor if tensor.shape[axis] == 1 else self.part(tensor, _Range(axis, index, 1))
            sources = op.sources if op is not None else frozenset()
            return None if part is None else lir.reshape(part, shape, sources)
        operands: list[Tensor | None] = []
        for x in op.inputs:
            assert x is not None
            own = axis - (tensor.rank - x.rank)
            operands.append(x if own < 0 else self.row(x, own, index if x.shape[own] > 1 else 0))
        if any(x is None for x in operands):
            return None
        copy = lir.like(op, operands)
        copy.output.shape = shape
        return copy.output

    def part(self, tensor: Tensor, want: _Range) -> Tensor | None:
        """``tensor`` at some indices of one axis."""
        if want.size == tensor.shape[want.axis]:
            return tensor
        key = (tensor, want)
        if key not in self.known:
            self.known[key] = self._constant(tensor, want) if tensor.is_constant else self._part(tensor, want)
        return self.known[key]

    def _constant(self, tensor: Tensor, want: _Range) -> Tensor:
        assert tensor.data is not None
        taken = slice(want.start, want.start + want.size)
        quant = tensor.quant
        if quant is not None and not quant.per_tensor and quant.axis == want.axis:
            quant = Quant(quant.scale[taken], quant.zero[taken], quant.axis)
        return lir.constant(tensor.data[(slice(None),) * want.axis + (taken,)], quant)

    def _part(self, tensor: Tensor, want: _Range) -> Tensor | None:
        op = tensor.op
        if op is None or (len(op.outputs) != 1 and op.kind != "SPLIT"):
            return None
        how = {
            "FULLY_CONNECTED": self._connected,
            "TRANSPOSE": self._transposed,
            "RESHAPE": self._reshaped,
            "SLICE": self._sliced,
            "GATHER": self._gathered,
            "SPLIT": self._split,
        }.get(op.kind)
        if how is None and op.kind in permute.ELEMENTWISE:
            how = self._elementwise
        return how(op, tensor, want) if how is not None else None

    def _elementwise(self, op: Op, tensor: Tensor, want: _Range) -> Tensor | None:
        operands: list[Tensor | None] = []
        for x in op.inputs:
            assert x is not None
            axis = want.axis - (tensor.rank - x.rank)
            whole = axis < 0 or x.shape[axis] == 1
            part = x if whole else self.part(x, _Range(axis, want.start, want.size))
            if part is None:
                return None
            operands.append(part)
        return _with_shape(op, operands, tensor, want)

    def _connected(self, op: Op, tensor: Tensor, want: _Range) -> Tensor | None:
        """Along the columns that it makes: rows of the weights."""
        weights, bias = op.inputs[1], op.inputs[2]
        if want.axis != tensor.rank - 1 or weights is None or not weights.is_constant:
            return None
        if bias is not None and not bias.is_constant:
            return None
        rows = _Range(0, want.start, want.size)
        inputs = [op.inputs[0], self.part(weights, rows), None if bias is None else self.part(bias, rows)]
        return _with_shape(op, inputs, tensor, want)

    def _transposed(self, op: Op, tensor: Tensor, want: _Range) -> Tensor | None:
        perm, x = [int(p) for p in op.constant(1)], op.inputs[0]
        assert x is not None
        part = self.part(x, _Range(perm[want.axis], want.start, want.size))
        if part is None:
            return None
        shape = [part.shape[p] for p in perm]
        moved = [p for p in perm if part.shape[p] != 1]
        same = moved == sorted(moved)
        return lir.reshape(part, shape, op.sources) if same else lir.transpose(part, perm, op.sources)

    def _reshaped(self, op: Op, tensor: Tensor, want: _Range) -> Tensor | None:
        """Where an axis of the input is the wanted one, alone or with the axes right behind it."""
        x = op.inputs[0]
        assert x is not None
        before = int(np.prod(tensor.shape[: want.axis], dtype=np.int64))
        inner = int(np.prod(tensor.shape[want.axis + 1 :], dtype=np.int64))
        for axis, length in enumerate(x.shape):
            behind = int(np.prod(x.shape[axis + 1 :], dtype=np.int64))
            ahead = int(np.prod(x.shape[:axis], dtype=np.int64))
            if length == 1 or inner % behind or ahead > before or before % ahead:
                continue
            unit = inner // behind
            # [.., H * unit, behind] as [.., H, unit * behind]: wanted indices are runs of ``unit``.
            if ahead == before and unit * tensor.shape[want.axis] == length:
                part = self.part(x, _Range(axis, want.start * unit, want.size * unit))
                if part is None:
                    return None
                shape = [want.size if i == want.axis else n for i, n in enumerate(tensor.shape)]
                return lir.reshape(part, shape, op.sources)
        return None

    def _sliced(self, op: Op, tensor: Tensor, want: _Range) -> Tensor | None:
        """The slice itself first: it usually takes queries, keys or values out of one projection."""
        found = op.inputs[0]
        begin = [int(n) for n in op.constant(1)]
        for axis, (start, size) in enumerate(zip(begin, op.output.shape, strict=True)):
            found = None if found is None else self.part(found, _Range(axis, start, size))
        return None if found is None else self.part(found, want)

    def _gathered(self, op: Op, tensor: Tensor, want: _Range) -> Tensor | None:
        """One index of an axis, which is gone afterwards."""
        x, index, axis = op.inputs[0], op.inputs[1], int(op.options["axis"])
        if x is None or index is None or not index.is_constant or index.rank or op.options.get("batchDims"):
            return None
        shifted = want.axis + (want.axis >= axis)
        found = self.part(x, _Range(axis, int(op.constant(1)) % x.shape[axis], 1))
        found = found and self.part(found, _Range(shifted, want.start, want.size))
        return found and lir.reshape(found, found.shape[:axis] + found.shape[axis + 1 :], op.sources)

    def _split(self, op: Op, tensor: Tensor, want: _Range) -> Tensor | None:
        x, axis = op.inputs[1], int(op.constant(0).ravel()[0])
        assert x is not None
        found = self.part(x, _Range(axis, op.outputs.index(tensor) * tensor.shape[axis], tensor.shape[axis]))
        return found and self.part(found, want)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    left = shape[:axis] + shape[axis + 1 :]
    return (1,) * (3 - len(left)) + left


def _with_shape(op: Op, inputs: list[Tensor | None], tensor: Tensor, want: _Range) -> Tensor:
    copy = lir.like(op, inputs)
    copy.output.shape = tuple(want.size if i == want.axis else n for i, n in enumerate(tensor.shape))
    return copy.output


def _kept(op: Op, axis: int) -> int | None:
    """The axis of a reshape's input that is this axis of its output, whole."""
    x, length = op.inputs[0], op.output.shape[axis]
    assert x is not None
    ahead = int(np.prod(op.output.shape[:axis], dtype=np.int64))
    found = [
        i for i, n in enumerate(x.shape) if n == length and np.prod(x.shape[:i], dtype=np.int64) == ahead
    ]
    return found[0] if found and length > 1 else None
