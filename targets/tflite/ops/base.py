"""What a lowering gets (`Call`) and how it says that it cannot (`Unsupported`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as oir
from numpy.typing import DTypeLike

from edgecut.targets.tflite import grids, lir
from edgecut.targets.tflite.lir import Array, Quant, Tensor

FLOAT = np.dtype(np.float32)
INT32 = np.dtype(np.int32)
INT64 = np.dtype(np.int64)
BOOL = np.dtype(np.bool_)
BROADCAST = 5
"""Dimensions of tensors that kernels broadcast at most."""

_STORED = (
    "float32",
    "float16",
    "float64",
    "int32",
    "int64",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "uint32",
    "bool",
)


# Kernels compute with few integer types; a wider one and the cast back, which wraps, give the same.
_WIDER: dict[str, np.dtype[Any]] = {
    "int8": INT32,
    "uint8": INT32,
    "int16": INT32,
    "uint16": INT32,
    "uint32": INT64,
}


class Unsupported(Exception):  # noqa: N818  (no error: the node just runs in the cloud)
    """A node cannot be lowered; the text says why, as a clause that follows the node's name."""


Lowered = Tensor | Sequence[Tensor | None]
Lowering = Callable[["Call"], Lowered]


def is_stored(dtype: np.dtype[Any]) -> bool:
    """Whether TFLite has this type."""
    return dtype.name in _STORED


def dtype_reason(dtype: oir.DataType) -> str | None:
    """Why TFLite cannot hold a type, or None."""
    try:
        name = dtype.numpy().name
    except TypeError:
        name = dtype.name.lower()
    return None if name in _STORED else f"type {name} has no counterpart"


class Call:
    """One ONNX node with its inputs as tensors; makes the operators that compute it.

    Attributes:
        node: The node.
        inputs: Its inputs; None where an optional one is left out.
        opset: Version of its operator set.
        sources: The node's name, which goes on every operator that it becomes.
    """

    def __init__(
        self,
        node: oir.Node,
        inputs: Sequence[Tensor | None],
        opset: int,
        sources: frozenset[str] | None = None,
    ) -> None:
        self.node = node
        self.inputs = list(inputs)
        self.opset = opset
        self.sources = sources or frozenset((node.name or "",))

    @property
    def kind(self) -> str:
        """Operator type of the node."""
        return self.node.op_type

    def has(self, index: int) -> bool:
        """Whether an optional input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def input(self, index: int) -> Tensor:
        """An input that must be there."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise Unsupported(f"input {index} is missing")
        return found

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as a Python value (lists for sequences)."""
        found = self.node.attributes.get(name)
        if found is None:
            return default
        if found.type == oir.AttributeType.TENSOR:
            return found.as_tensor().numpy()
        if isinstance(found.value, (list, tuple)):
            return list(found.value)
        return found.value

    def known(self, index: int) -> Array | None:
        """The numbers of an input if it is given and constant."""
        if not self.has(index):
            return None
        tensor = self.input(index)
        return lir.real(tensor) if tensor.is_constant else None

    def constant(self, index: int, what: str) -> Array:
        """The numbers of an input that has to be constant; ``what`` names it in the reason."""
        found = self.known(index)
        if found is None:
            raise Unsupported(f"{what} is not constant")
        return found

    def integers(self, index: int, name: str) -> list[int] | None:
        """Axes and the like: attribute ``name`` in old operator sets, constant input in new ones."""
        if self.has(index):
            return [int(i) for i in np.atleast_1d(self.constant(index, name))]
        found = self.attribute(name)
        return None if found is None else [int(i) for i in np.atleast_1d(found)]

    def need(self, ok: bool, reason: str) -> None:
        """Refuse the node unless ``ok``."""
        if not ok:
            raise Unsupported(reason)

    def float_only(self, *indices: int) -> None:
        """Refuse other types than float32 on these inputs (on the first if none are named)."""
        for index in indices or (0,):
            dtype = self.input(index).dtype
            self.need(self._is_float(index), f"type {dtype} (float32 is supported)")

    def _is_float(self, index: int) -> bool:
        tensor = self.input(index)
        return tensor.dtype == FLOAT or (tensor.is_constant and tensor.quant is not None)

    def emit(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        dtype: DTypeLike | None = None,
        **options: Any,
    ) -> Tensor:
        """Make an operator with one output; its type is that of the first input unless given."""
        first = next(t for t in inputs if t is not None)
        (out,) = lir.emit(kind, inputs, [shape], [dtype or read_as(first)], self.sources, options)
        assert out.op is not None
        grids.carry(out.op)
        return out

    def emit_many(
        self, kind: str, inputs: Sequence[Tensor | None], shapes: Sequence[Sequence[int]], **options: Any
    ) -> tuple[Tensor, ...]:
        """Make an operator with several outputs of the type of its first computed input."""
        first = next(t for t in inputs if t is not None and not t.is_constant)
        made = lir.emit(kind, inputs, shapes, [first.dtype] * len(shapes), self.sources, options)
        assert made[0].op is not None
        grids.carry(made[0].op)
        return made

    def transpose(self, tensor: Tensor, perm: Sequence[int]) -> Tensor:
        """Permute dimensions."""
        return lir.transpose(tensor, perm, self.sources)

    def reshape(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """Change the shape."""
        return lir.reshape(tensor, shape, self.sources)

    def binary(self, kind: str, left: Tensor, right: Tensor, dtype: DTypeLike | None = None) -> Tensor:
        """An element-wise operator with broadcasting."""
        shape = np.broadcast_shapes(left.shape, right.shape)
        operands, few = self.broadcast(left, right)
        return self.reshape(self.emit(kind, operands, few, dtype or read_as(left)), shape)

    def broadcast(self, *tensors: Tensor) -> tuple[list[Tensor], tuple[int, ...]]:
        """Operands of equal rank and the result's shape, in no more dimensions than kernels broadcast."""
        shape = np.broadcast_shapes(*(t.shape for t in tensors))
        rank = len(shape)
        wide = [(1,) * (rank - t.rank) + t.shape for t in tensors]
        if rank <= BROADCAST or len({t.shape for t in tensors if t.rank}) < 2:
            return [self.reshape(t, w) if t.rank else t for t, w in zip(tensors, wide, strict=True)], shape
        runs = merged(wide)
        joined = [tuple(int(np.prod(w[a:b])) for a, b in runs) for w in wide]
        operands = [self.reshape(t, w) if t.rank else t for t, w in zip(tensors, joined, strict=True)]
        return operands, tuple(int(np.prod(shape[a:b])) for a, b in runs)

    def unary(self, kind: str, tensor: Tensor, **options: Any) -> Tensor:
        """An element-wise operator of one tensor."""
        return self.emit(kind, [tensor], tensor.shape, tensor.dtype, **options)

    def scalar(self, number: float, dtype: DTypeLike = FLOAT) -> Tensor:
        """A constant without dimensions."""
        return lir.constant(np.array(number, dtype))

    def cast(self, tensor: Tensor, dtype: DTypeLike) -> Tensor:
        """Change the type, at compile time where the tensor is constant."""
        wanted = np.dtype(dtype)
        if tensor.dtype == wanted:
            return tensor
        if tensor.data is not None and tensor.quant is None:
            return lir.constant(tensor.data.astype(wanted))
        return self.emit("CAST", [tensor], tensor.shape, wanted)

    def widened(
        self,
        tensors: Sequence[Tensor],
        types: Sequence[np.dtype[np.generic]],
        compute: Callable[[Sequence[Tensor]], Tensor],
    ) -> Tensor:
        """Compute in one of ``types``: as it is, or in a wider integer type and cast back."""
        own = read_as(tensors[0])
        wider = _WIDER.get(own.name)
        if own in types or wider is None or wider not in types:
            wrong = [d for d in map(read_as, tensors) if d not in types]
            self.need(not wrong, f"type {wrong[0] if wrong else ''}")
            return compute(tensors)
        made = compute([self.cast(t, wider) for t in tensors])
        return self.cast(made, own) if made.dtype == wider else made

    def unrounded(self, x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute in float what gives some of the numbers that it is given, for integers of 8 bits, too.

        Where their grid is known they are dequantized and quantized again, for which there may be one kernel.
        """
        if x.dtype.name not in ("int8", "uint8") or x.is_constant:
            self.need(read_as(x) == FLOAT, f"type {x.dtype} (float32 is supported)")
            return compute(x)
        if x.quant is None or not x.quant.per_tensor:
            return self.cast(compute(self.cast(x, FLOAT)), x.dtype)
        made = compute(self.emit("DEQUANTIZE", [x], x.shape, FLOAT))
        out = self.emit("QUANTIZE", [made], made.shape, x.dtype)
        out.quant = x.quant
        return out

    def on_grid(self, tensor: Tensor, quant: Quant) -> Tensor:
        """Integers, with what they stand for; refuse the node where they stand for other numbers already."""
        known = tensor.quant is None or tensor.quant.same(quant)
        self.need(known, "its scale is not the one that made the integers")
        grids.label(tensor, quant)
        return tensor

    def axis(self, axis: int, rank: int) -> int:
        """A dimension's number, counted from the front."""
        self.need(-rank <= axis < rank, f"axis {axis} of rank {rank}")
        return axis % rank


def merged(shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Runs of dimensions along which the same of some shapes of equal rank are broadcast."""
    out = np.broadcast_shapes(*shapes)
    runs: list[tuple[int, int]] = []
    last: tuple[bool, ...] | None = None
    for i, n in enumerate(out):
        pattern = tuple(shape[i] == n for shape in shapes)
        if runs and (n == 1 or last is None or pattern == last):
            runs[-1] = (runs[-1][0], i + 1)
        else:
            runs.append((i, i + 1))
        last = last if n == 1 else pattern
    return runs


def read_as(tensor: Tensor) -> np.dtype[Any]:
    """A tensor's type: a constant that is dequantized stands for floats, however it is stored."""
    return FLOAT if tensor.is_constant and tensor.quant is not None else tensor.dtype
