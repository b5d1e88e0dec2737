"""The back end's own graph: TFLite operators on tensors, each operator with the ONNX nodes it came from.

A graph is a DAG held together by ``Tensor.op``, the operator that makes a tensor; there is no list of
operators to keep in order. Rewrites never destroy: they make new operators and redirect later readers,
so that every value of the program stays computable, and what nobody reads costs nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Perm = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Quant:
    """Affine quantization: ``real = scale * (stored - zero)``, per tensor or along one axis.

    A constant of float16 has one too, of scale 1: it is stored so, and read as float32.
    """

    scale: Array
    """float32, one element, or one per index of ``axis``."""
    zero: Array
    """int64, as many as scales."""
    axis: int = 0

    def same(self, other: Quant | None) -> bool:
        """Whether both map the same integers to the same numbers."""
        return (
            other is not None
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero, other.zero)
            and (self.scale.size == 1 or self.axis == other.axis)
        )

    @property
    def per_tensor(self) -> bool:
        """One scale for all."""
        return self.scale.size == 1


@dataclass(eq=False)
class Tensor:
    """An array that an operator makes, or an input, or a constant (``data``)."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    data: Array | None = None
    quant: Quant | None = None
    op: Op | None = None
    open: tuple[bool, ...] = ()
    """Which dimensions the runtime may change; none if empty."""

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        """Known at compile time."""
        return self.data is not None

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(eq=False)
class Op:
    """One TFLite operator."""

    kind: str
    """Name of the builtin operator, such as ``CONV_2D``."""
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    """Fields of the operator's options table, by their names in the schema."""
    sources: frozenset[str] = frozenset()
    """Names of the ONNX nodes that it computes."""
    parts: tuple[Part, ...] = ()
    """Of a WHILE: its condition and its body."""

    @property
    def output(self) -> Tensor:
        """Its first output."""
        return self.outputs[0]

    def constant(self, index: int) -> Array:
        """The data of an input that is always constant."""
        tensor = self.inputs[index]
        assert tensor is not None
        assert tensor.data is not None
        return tensor.data


@dataclass(frozen=True, eq=False)
class Part:
    """Operators that another one runs, as a subgraph of their own: they read nothing but its inputs."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass
class Graph:
    """A lowered program."""

    inputs: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    """The tensor that holds each ONNX value which has one."""
    perms: dict[str, Perm] = field(default_factory=dict)
    """How a value is held, where not in its own order: ``tensor = transpose(value, perm)``."""
    outputs: list[str] = field(default_factory=list)
    """Values that are needed: graph outputs, and what nodes that cannot be lowered read."""
    contract: set[str] = field(default_factory=set)
    """Those among them that must be in their own order: graph outputs."""

    def order(self) -> list[Op]:
        """Operators that the outputs depend on, in topological order."""
        return order(self.values[name] for name in self.outputs)

    def uses(self, ops: Sequence[Op] | None = None) -> Counter[Tensor]:
        """How many live readers every tensor has, outputs included; ``ops``: `order`, if it is known."""
        live = self.order() if ops is None else ops
        found = Counter(t for op in live for t in op.inputs if t is not None)
        found.update(self.values[name] for name in self.outputs)
        return found

    def redirect(self, forward: dict[Tensor, Tensor]) -> None:
        """Let values be held by the tensors that replace theirs, or be reshapes of those."""
        self.values = {name: resolve(t, forward) for name, t in self.values.items()}
        for tensor in self.values.values():
            op = tensor.op
            if op is not None and op.kind == "RESHAPE" and op.inputs[0] in forward:
                op.inputs[0] = resolve(op.inputs[0], forward)


Rule = Callable[[Op, "Counter[Tensor]"], Tensor | None]
"""Looks at an operator whose inputs are rewritten already, and gives what replaces its output, if any."""


def rewrite(graph: Graph, rule: Rule) -> None:
    """Apply a rule to every operator, producers first, until it changes nothing.

    Operators that only dead values need are kept as they were, so that each value stays computable.
    """
    while _rewrite_once(graph, rule):
        pass


def _rewrite_once(graph: Graph, rule: Rule) -> bool:
    forward: dict[Tensor, Tensor] = {}
    ops = graph.order()
    uses = graph.uses(ops)
    for op in ops:
        if forward:
            op.inputs = [None if t is None else resolve(t, forward) for t in op.inputs]
        replacement = rule(op, uses)
        if replacement is not None and replacement is not op.output:
            forward[op.output] = replacement
            uses[replacement] += uses[op.output]
    graph.redirect(forward)
    return bool(forward)


def resolve(tensor: Tensor, forward: dict[Tensor, Tensor]) -> Tensor:
    """Follow replacements to the end."""
    while tensor in forward:
        tensor = forward[tensor]
    return tensor


def order(tensors: Iterable[Tensor], stop: Iterable[Tensor] = ()) -> list[Op]:
    """Operators that compute these tensors, producers first, without going beyond ``stop``."""
    known = set(stop)
    found: dict[Op, None] = {}
    # An operator comes off the stack twice: before what it reads, and then, entered already, after it.
    entered: set[Op] = set()
    stack = [t.op for t in reversed(list(tensors)) if t.op is not None and t not in known]
    while stack:
        op = stack.pop()
        if op in found:
            continue
        if op in entered:
            found[op] = None
            continue
        entered.add(op)
        stack.append(op)
        for t in reversed(op.inputs):
            if t is not None and t.op is not None and t.op not in found and t not in known:
                stack.append(t.op)
    return list(found)


def emit(
    kind: str,
    inputs: Sequence[Tensor | None],
    shapes: Sequence[Sequence[int]],
    dtypes: Sequence[DTypeLike],
    sources: frozenset[str],
    options: dict[str, Any] | None = None,
    parts: tuple[Part, ...] = (),
) -> tuple[Tensor, ...]:
    """Make an operator, and give its outputs."""
    outputs = [Tensor(tuple(map(int, s)), np.dtype(d)) for s, d in zip(shapes, dtypes, strict=True)]
    op = Op(kind, list(inputs), outputs, dict(options or {}), sources, parts)
    for tensor in outputs:
        tensor.op = op
    return tuple(outputs)


def like(op: Op, inputs: Sequence[Tensor | None], **changes: Any) -> Op:
    """A copy of an operator with new outputs, reading ``inputs``; ``changes``: kind, options, sources."""
    outputs = [Tensor(t.shape, t.dtype, quant=t.quant) for t in op.outputs]
    options = {**op.options, **changes.get("options", {})}
    copy = Op(
        changes.get("kind", op.kind),
        list(inputs),
        outputs,
        options,
        changes.get("sources", op.sources),
        op.parts,
    )
    for tensor in outputs:
        tensor.op = copy
    return copy


def constant(array: Array, quant: Quant | None = None) -> Tensor:
    """A constant tensor."""
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    return Tensor(array.shape, array.dtype, data=array, quant=quant)


def integers(values: Iterable[int]) -> Tensor:
    """A constant int32 vector: axes, paddings, shapes."""
    return constant(np.array(list(values), np.int32))


def transpose(tensor: Tensor, perm: Sequence[int], sources: frozenset[str]) -> Tensor:
    """Permute the dimensions, at compile time where the tensor is constant."""
    perm = tuple(perm)
    if perm == tuple(range(tensor.rank)):
        return tensor
    if tensor.data is not None:
        quant = tensor.quant
        if quant is not None and not quant.per_tensor:
            quant = Quant(quant.scale, quant.zero, perm.index(quant.axis))
        return constant(tensor.data.transpose(perm), quant)
    shape = [tensor.shape[p] for p in perm]
    (out,) = emit("TRANSPOSE", [tensor, integers(perm)], [shape], [tensor.dtype], sources)
    out.quant = tensor.quant
    return out


def reshape(tensor: Tensor, shape: Sequence[int], sources: frozenset[str]) -> Tensor:
    """Give another shape of as many elements, at compile time where the tensor is constant.

    A constant that is quantized along an axis must keep that axis whole (dimensions of one may be
    added and removed around it).
    """
    shape = tuple(map(int, shape))
    if shape == tensor.shape:
        return tensor
    if tensor.data is not None:
        quant = tensor.quant
        if quant is not None and not quant.per_tensor:
            before = int(np.prod(tensor.shape[: quant.axis]))
            cumulated = [int(np.prod(shape[:i])) for i in range(len(shape))]
            axis = next(i for i, n in enumerate(shape) if n == quant.scale.size and cumulated[i] == before)
            quant = Quant(quant.scale, quant.zero, axis)
        return constant(tensor.data.reshape(shape), quant)
    options = {"newShape": list(shape)}
    (out,) = emit("RESHAPE", [tensor, integers(shape)], [shape], [tensor.dtype], sources, options)
    out.quant = tensor.quant
    return out


def real(tensor: Tensor) -> Array:
    """The numbers that a constant stands for: float32 where it is quantized."""
    assert tensor.data is not None
    if tensor.quant is None:
        return tensor.data
    if tensor.dtype == np.float16:
        return tensor.data.astype(np.float32)
    scale, zero = tensor.quant.scale, tensor.quant.zero
    if not tensor.quant.per_tensor:
        along = [1] * tensor.rank
        along[tensor.quant.axis] = -1
        scale, zero = scale.reshape(along), zero.reshape(along)
    numbers = (tensor.data.astype(np.int64) - zero).astype(np.float32) * scale
    return np.asarray(numbers, np.float32).reshape(tensor.shape)


def compose(first: Perm, second: Perm) -> Perm:
    """The permutation that does ``first``, then ``second``."""
    return tuple(first[i] for i in second)


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes ``perm``."""
    return tuple(int(i) for i in np.argsort(perm))
