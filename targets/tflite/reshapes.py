"""Reshapes that need not happen: those that a later one undoes, and those before a fully connected layer.

Between two convolutions over sequences stand element-wise operators on [N, C, L], while the kernels work
on [N, C, 1, L]; they are lifted to the kernels' shape. A FULLY_CONNECTED reads its rows from a tensor of
any rank, so that a Flatten before it vanishes (and the layout may permute the rows of its weights).
"""

from __future__ import annotations

import functools
from collections import Counter

import numpy as np

from edgecut.targets.tflite import lir, permute
from edgecut.targets.tflite.lir import Graph, Op, Tensor


def run(graph: Graph) -> None:
    """Take out what reshapes can be."""
    lifted: dict[tuple[Tensor, tuple[int, ...]], Tensor | None] = {}
    lir.rewrite(graph, functools.partial(_reshape, lifted))
    _hold(graph, lifted)
    lir.rewrite(graph, _fully_connected)


def _hold(graph: Graph, lifted: dict[tuple[Tensor, tuple[int, ...]], Tensor | None]) -> None:
    """Let values be reshapes of what was lifted, so that a cut sends what the file computes anyway."""
    found = {old: new for (old, _), new in lifted.items() if new is not None and new.shape != old.shape}
    held: dict[Tensor, Tensor] = {}
    for name, tensor in graph.values.items():
        new = found.get(tensor)
        if new is None or tensor.op is None or tensor.op.kind == "RESHAPE":
            continue
        if tensor not in held:
            held[tensor] = lir.reshape(new, tensor.shape, tensor.op.sources)
        graph.values[name] = held[tensor]


def _reshape(
    lifted: dict[tuple[Tensor, tuple[int, ...]], Tensor | None], op: Op, uses: Counter[Tensor]
) -> Tensor | None:
    x = op.inputs[0]
    if op.kind != "RESHAPE" or x is None:
        return None
    return _lift(x, op.output.shape, lifted)


def _lift(
    tensor: Tensor, shape: tuple[int, ...], known: dict[tuple[Tensor, tuple[int, ...]], Tensor | None]
) -> Tensor | None:
    """``reshape(tensor, shape)`` without an operator for it, or None."""
    key = (tensor, shape)
    if key not in known:
        known[key] = _try_lift(tensor, shape, known)
    return known[key]


def _try_lift(
    tensor: Tensor, shape: tuple[int, ...], known: dict[tuple[Tensor, tuple[int, ...]], Tensor | None]
) -> Tensor | None:
    op = tensor.op
    if tensor.shape == shape:
        return tensor
    if op is None:
        return None
    if op.kind == "RESHAPE" and op.inputs[0] is not None:
        return _lift(op.inputs[0], shape, known)
    # What scalars become stays a scalar, whatever shape is noted for it.
    if op.kind not in permute.ELEMENTWISE or not tensor.rank or not _adds_ones(tensor.shape, shape):
        return None
    inputs: list[Tensor | None] = []
    for x in op.inputs:
        assert x is not None
        new = x if x.rank == 0 else _lift_operand(x, tensor.shape, shape, known)
        if new is None:
            return None
        inputs.append(new)
    copy = lir.like(op, inputs)
    copy.output.shape = shape
    return copy.output


def _lift_operand(
    tensor: Tensor,
    old: tuple[int, ...],
    new: tuple[int, ...],
    known: dict[tuple[Tensor, tuple[int, ...]], Tensor | None],
) -> Tensor | None:
    """An operand that is broadcast to ``old``, as one that is broadcast to ``new``."""
    if tensor.rank != len(old):
        return None
    sizes = iter(tensor.shape[i] for i, n in enumerate(old) if n != 1)
    target = tuple(next(sizes) if n != 1 else 1 for n in new)
    if int(np.prod(target)) != int(np.prod(tensor.shape)):
        return None
    if tensor.is_constant:
        return lir.reshape(tensor, target, frozenset())
    return _lift(tensor, target, known)


def _adds_ones(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    return [n for n in old if n != 1] == [n for n in new if n != 1]


def _fully_connected(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    x = op.inputs[0]
    if op.kind != "FULLY_CONNECTED" or x is None or (x.rank != 2 and op.options["keepNumDims"]):
        return None
    cube = _unflattened(x, uses)
    if cube is None:
        return None
    reshaped = _source(x)
    sources = op.sources | (reshaped.sources if reshaped else frozenset())
    return lir.like(op, [cube, *op.inputs[1:]], options={"keepNumDims": False}, sources=sources).output


def _source(tensor: Tensor) -> Op | None:
    """The reshape above a chain of element-wise operators of one tensor."""
    op = tensor.op
    while op is not None and op.kind in permute.UNARY and op.inputs[0] is not None:
        op = op.inputs[0].op
    return op if op is not None and op.kind == "RESHAPE" else None


def _unflattened(tensor: Tensor, uses: Counter[Tensor]) -> Tensor | None:
    """``tensor`` as it was before it was flattened to two dimensions, through what is read only here."""
    op = tensor.op
    if op is None:
        return None
    x = op.inputs[0]
    if op.kind == "RESHAPE":
        rows = x is not None and x.rank > 2 and x.shape[0] == tensor.shape[0]
        return x if rows else None
    if op.kind not in permute.UNARY or uses[tensor] != 1 or x is None:
        return None
    above = _unflattened(x, uses)
    reshaped = _source(x)
    if above is None or reshaped is None:
        return None
    copy = lir.like(op, [above], sources=op.sources | reshaped.sources)
    copy.output.shape = above.shape
    return copy.output
