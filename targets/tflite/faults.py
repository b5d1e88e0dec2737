"""What LiteRT computes wrongly as it stands, written so that it computes it right.

LiteRT lets RESHAPE share the memory of what it reads, and sums and products write over an operand that
nobody else reads. Whether anybody does it asks of the operand and of the tensor that the memory was made
for, not of those between: where a result that itself lies in older memory is read by several, the first
reader behind a RESHAPE writes over what the others are yet to read. There the RESHAPE gets a copy.

XNNPACK takes a TRANSPOSE that only a BATCH_MATMUL reads into the product, and turns one operand only where
both are the same tensor. There each operand gets a TRANSPOSE of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Graph, Op, Tensor

_OVERWRITE = ("ADD", "SUB", "MUL", "DIV", "SOFTMAX", "DYNAMIC_UPDATE_SLICE")
"""Operators that may write over an operand of the size of their result."""


def run(graph: Graph) -> None:
    """Write anew what would be computed wrongly."""
    ops = lir.order(graph.values.values())
    readers: dict[Tensor, list[Op]] = defaultdict(list)
    for op in ops:
        for tensor in op.inputs:
            if tensor is not None:
                readers[tensor].append(op)
    uses = Counter({tensor: len(found) for tensor, found in readers.items()})
    uses.update(graph.values[name] for name in graph.outputs)
    for op in ops:
        x = op.inputs[0] if op.kind == "RESHAPE" else None
        if x is not None and uses[x] > 1 and _in_older_memory(x) and _overwritten(op.output, readers):
            op.inputs[0] = _copy(x, op)
        if op.kind == "BATCH_MATMUL" and op.inputs[0] is op.inputs[1]:
            op.inputs[0] = _turned_again(op.inputs[0])


def _in_older_memory(tensor: Tensor) -> bool:
    """Whether a tensor may lie where one of its maker's operands lay."""
    op = tensor.op
    if op is None or op.kind not in (*_OVERWRITE, "RESHAPE"):
        return False
    return any(
        t is not None and not t.is_constant and t.op is not None and _fits(t, tensor) for t in op.inputs
    )


def _overwritten(tensor: Tensor, readers: dict[Tensor, list[Op]]) -> bool:
    """Whether what reads a tensor, perhaps behind another RESHAPE, may write over it."""
    for op in readers[tensor]:
        if op.kind in _OVERWRITE and _fits(tensor, op.output):
            return True
        if op.kind == "RESHAPE" and _overwritten(op.output, readers):
            return True
    return False


def _turned_again(x: Tensor | None) -> Tensor | None:
    """The result of a TRANSPOSE, from another one."""
    op = x.op if x is not None else None
    return x if op is None or op.kind != "TRANSPOSE" else lir.like(op, op.inputs).output


def _fits(one: Tensor, other: Tensor) -> bool:
    return one.nbytes == other.nbytes


def _copy(x: Tensor, op: Op) -> Tensor:
    begin, size = lir.integers([0] * x.rank), lir.integers([-1] * x.rank)
    (made,) = lir.emit("SLICE", [x, begin, size], [x.shape], [x.dtype], op.sources)
    made.quant, made.open = x.quant, x.open
    return made
