"""One file for any batch: the same program lowered for two batches, and what differs left open.

Lowering knows shapes only as numbers. So it is done twice, for batches of two and three; operators have to
be the same, and every dimension that differs is one that grows with the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecut.ir.errors import ConstraintError
from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Graph, Op, Tensor

BATCHES = (2, 3)
_HINT = "export the model with an open batch, or convert it for a batch of one"


def opened(two: Graph, three: Graph, wanted: Sequence[str] = ()) -> Graph:
    """The graph of a batch of one, with open dimensions where the two given graphs differ.

    Args:
        two: Lowered for a batch of two; changed into the result.
        three: Lowered for a batch of three.
        wanted: Values that are needed besides the graphs' outputs.

    Raises:
        ConstraintError: The batch is baked in; the message names the node.
    """
    first, second = (
        lir.order(g.values[n] for n in dict.fromkeys((*g.outputs, *wanted)) if n in g.values)
        for g in (two, three)
    )
    if [op.kind for op in first] != [op.kind for op in second]:
        raise ConstraintError("becomes other operators for another batch", hint=_HINT)
    pairs = [(two.inputs[n], t) for n, t in three.inputs.items()]
    pairs += [
        pair for a, b in zip(first, second, strict=True) for pair in zip(a.outputs, b.outputs, strict=True)
    ]
    for a, b in zip(first, second, strict=True):
        _constants(a, b)
    for one, other in pairs:
        _open(one, other)
    return two


def _open(tensor: Tensor, other: Tensor) -> None:
    """Set the shape for a batch of one, and which of its dimensions are open."""
    differs = [a != b for a, b in zip(tensor.shape, other.shape, strict=True)]
    for a, b in zip(tensor.shape, other.shape, strict=True):
        if a != b and a * BATCHES[1] != b * BATCHES[0]:
            source = ", ".join(sorted(tensor.op.sources)) if tensor.op else None
            raise ConstraintError("does not grow in proportion to the batch", where=source, hint=_HINT)
    tensor.open = tuple(differs)
    tensor.shape = tuple(n // BATCHES[0] if d else n for n, d in zip(tensor.shape, differs, strict=True))


def _constants(op: Op, other: Op) -> None:
    """Constants have to be equal, but for one dimension of a RESHAPE and sizes of a SLICE that takes all."""
    for index, (a, b) in enumerate(zip(op.inputs, other.inputs, strict=True)):
        if a is None or b is None or a.data is None or b.data is None:
            continue
        if a.data.shape == b.data.shape and (a.data == b.data).all():
            continue
        differs = a.data != b.data if a.data.shape == b.data.shape else None
        if differs is None or not _follows(op, index, differs):
            where = ", ".join(sorted(op.sources))
            raise ConstraintError("has a constant that depends on the batch", where=where, hint=_HINT)
        op.inputs[index] = lir.integers(-1 if d else int(n) for n, d in zip(a.data, differs, strict=True))
        if op.kind == "RESHAPE":
            op.options["newShape"] = op.constant(1).tolist()


def _follows(op: Op, index: int, differs: Array) -> bool:
    """Whether the runtime can find out these numbers by itself, written as -1."""
    if op.kind == "RESHAPE" and index == 1:
        return int(differs.sum()) == 1
    return op.kind == "SLICE" and index == 2 and not op.constant(1)[differs].any()
