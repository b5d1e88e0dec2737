"""Picking elements by index: Gather, GatherElements, GatherND, TopK, OneHot, CumSum, Trilu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Tensor
from edgecut.targets.tflite.ops.base import BOOL, FLOAT, INT32, INT64, Call
from edgecut.targets.tflite.ops.elementwise import NARROW, is_narrow


def gather(call: Call) -> Tensor:
    """Take slices along an axis."""
    x = call.input(0)
    axis = call.axis(int(call.attribute("axis", 0)), x.rank)
    indices = _indices(call, 1, x.shape[axis])
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    if x.data is None or x.quant is None or not x.quant.per_tensor or x.dtype.name not in ("int8", "uint8"):
        return call.emit("GATHER", [x, indices], shape, axis=axis, batchDims=0)
    # A table of quantized rows stays as small as it is stored; what is taken of it is dequantized.
    rows = call.emit("GATHER", [lir.constant(x.data), indices], shape, x.dtype, axis=axis, batchDims=0)
    rows.quant = x.quant
    return call.emit("DEQUANTIZE", [rows], shape, FLOAT)


def gather_nd(call: Call) -> Tensor:
    """Take the slices that rows of indices name; batch dimensions become columns of the indices."""
    x, batch = call.input(0), int(call.attribute("batch_dims", 0))
    found = call.known(1)
    sizes = np.array(x.shape[batch : batch + call.input(1).shape[-1]])
    grid = np.moveaxis(np.indices(call.input(1).shape[:-1])[:batch], 0, -1).astype(np.int32)
    if found is not None:
        rows = np.where(found < 0, found + sizes, found)
        indices = lir.constant(np.concatenate([grid, rows], -1).astype(np.int32))
    else:
        indices = from_front(call, call.input(1), sizes)
    if found is None and batch:
        shape = (*indices.shape[:-1], batch + indices.shape[-1])
        options: dict[str, Any] = {"axis": indices.rank - 1, "fusedActivationFunction": 0}
        indices = call.emit("CONCATENATION", [lir.constant(grid), indices], shape, INT32, **options)
    shape = (*indices.shape[:-1], *x.shape[indices.shape[-1] :])
    return call.emit("GATHER_ND", [x, indices], shape)


def gather_elements(call: Call) -> Tensor:
    """Take single elements along an axis: rows of indices for GATHER_ND, made where they are not constant."""
    x = call.input(0)
    axis = call.axis(int(call.attribute("axis", 0)), x.rank)
    found = _indices(call, 1, x.shape[axis])
    grid = np.moveaxis(np.indices(found.shape), 0, -1).astype(np.int32)
    if found.data is not None:
        grid[..., axis] = found.data
        return call.emit("GATHER_ND", [x, lir.constant(grid)], found.shape)
    return call.emit("GATHER_ND", [x, element_rows(call, found, axis)], found.shape)


def element_rows(call: Call, indices: Tensor, axis: int) -> Tensor:
    """Rows of indices that name single elements, of computed indices along one axis."""
    grid = np.moveaxis(np.indices(indices.shape), 0, -1).astype(np.int32)
    column = call.reshape(call.cast(indices, INT32), (*indices.shape, 1))
    before, after = grid[..., :axis], grid[..., axis + 1 :]
    columns = [lir.constant(before)] * bool(axis) + [column]
    columns += [lir.constant(after)] * (axis + 1 < indices.rank)
    if len(columns) == 1:
        return column
    options: dict[str, Any] = {"axis": indices.rank, "fusedActivationFunction": 0}
    return call.emit("CONCATENATION", columns, (*indices.shape, indices.rank), INT32, **options)


def from_front(call: Call, indices: Tensor, sizes: Array) -> Tensor:
    """Computed indices as int32, counted from the front; ``sizes``: of what they index, by last axis."""
    call.need(indices.dtype in (INT32, INT64), f"indices of type {indices.dtype}")
    if indices.rank > 5:
        flat = call.reshape(indices, (int(np.prod(indices.shape[:-1])), indices.shape[-1]))
        return call.reshape(from_front(call, flat, sizes), indices.shape)
    narrow = call.cast(indices, INT32)
    limit = lir.constant(sizes.astype(np.int32).reshape((1,) * (indices.rank - sizes.ndim) + sizes.shape))
    negative = call.binary("LESS", narrow, lir.constant(np.zeros((1,) * indices.rank, np.int32)), BOOL)
    shifted = call.binary("ADD", narrow, limit)
    return call.emit("SELECT_V2", [negative, shifted, narrow], narrow.shape, INT32)


def reverse_sequence(call: Call) -> Tensor:
    """The first elements along the time axis in reverse, as many as each batch element's length says."""
    x, lengths = call.input(0), call.input(1)
    call.need(x.dtype in (FLOAT, INT32, INT64), f"type {x.dtype}")
    time, batch = int(call.attribute("time_axis", 0)), int(call.attribute("batch_axis", 1))
    return call.emit("REVERSE_SEQUENCE", [x, lengths], x.shape, x.dtype, seqDim=time, batchDim=batch)


def top_k(call: Call) -> Sequence[Tensor]:
    """The largest (or smallest) elements along an axis and where they are."""
    x, own = call.input(0), call.input(0).dtype
    if own.name in NARROW or (own == INT64 and is_narrow(x)):
        x = call.cast(x, INT32)
    call.need(x.dtype in (FLOAT, INT32), f"type {x.dtype}, of numbers that may need more than 32 bits")
    axis = call.axis(int(call.attribute("axis", -1)), x.rank)
    perm = [i for i in range(x.rank) if i != axis] + [axis]
    last, largest = call.transpose(x, perm), bool(call.attribute("largest", 1))
    k = int(call.constant(1, "k").ravel()[0])
    shape = (*last.shape[:-1], k)
    count = lir.constant(np.array(k, np.int32))
    last = last if largest else call.unary("NEG", last)
    values, where = lir.emit("TOPK_V2", [last, count], [shape, shape], [x.dtype, INT32], call.sources)
    values = values if largest else call.unary("NEG", values)
    back = np.argsort(perm).tolist()
    return [call.transpose(call.cast(values, own), back), call.transpose(call.cast(where, INT64), back)]


def one_hot(call: Call) -> Tensor:
    """One value at the index, another elsewhere."""
    indices, depth = call.input(0), int(call.constant(1, "depth").ravel()[0])
    values = call.constant(2, "values")
    call.need(values.dtype.name in ("float32", "int32", "int64"), f"type {values.dtype}")
    call.need(indices.dtype in (FLOAT, INT32, INT64), f"indices of type {indices.dtype}")
    axis = call.axis(int(call.attribute("axis", -1)), indices.rank + 1)
    indices = call.cast(indices, INT32)
    size = lir.constant(np.array(depth, np.int32))
    below = call.binary("LESS", indices, lir.constant(np.array(0, np.int32)), BOOL)
    indices = call.emit(
        "SELECT_V2", [below, call.binary("ADD", indices, size), indices], indices.shape, INT32
    )
    shape = (*indices.shape[:axis], depth, *indices.shape[axis:])
    off, on = (lir.constant(v) for v in values)
    last = axis == indices.rank
    return call.emit("ONE_HOT", [indices, size, on, off], shape, values.dtype, axis=-1 if last else axis)


def cumsum(call: Call) -> Tensor:
    """Running sums along an axis."""
    x = call.input(0)
    call.need(x.dtype in (FLOAT, INT32, INT64), f"type {x.dtype}")
    axis = call.axis(int(call.constant(1, "axis").ravel()[0]), x.rank)
    options: dict[str, Any] = {
        "exclusive": bool(call.attribute("exclusive", 0)),
        "reverse": bool(call.attribute("reverse", 0)),
    }
    return call.emit("CUMSUM", [x, lir.constant(np.array(axis, np.int32))], x.shape, **options)


def trilu(call: Call) -> Tensor:
    """Keep the upper or lower triangle, by a constant mask."""
    x = call.input(0)
    call.need(x.dtype in (FLOAT, INT32, INT64, BOOL), f"type {x.dtype}")
    call.need(x.rank <= 5, f"rank {x.rank}")
    k = int(call.constant(1, "k").ravel()[0]) if call.has(1) else 0
    ones = np.ones(x.shape[-2:], bool)
    mask = np.triu(ones, k) if call.attribute("upper", 1) else np.tril(ones, k)
    mask = mask.reshape((1,) * (x.rank - 2) + mask.shape)
    zero = lir.constant(np.zeros((1,) * x.rank, x.dtype))
    return call.emit("SELECT_V2", [lir.constant(mask), x, zero], x.shape, x.dtype)


def _indices(call: Call, index: int, size: int) -> Tensor:
    """Indices counted from the front; those that are computed are taken to be in range, as ONNX demands."""
    found = call.known(index)
    if found is not None:
        return lir.constant(np.where(found < 0, found + size, found).astype(np.int32))
    tensor = call.input(index)
    call.need(tensor.dtype in (INT32, INT64), f"indices of type {tensor.dtype}")
    limit = lir.constant(np.array(size, tensor.dtype))
    if tensor.rank > 5:
        return tensor
    negative = call.binary("LESS", tensor, lir.constant(np.array(0, tensor.dtype)), BOOL)
    return call.emit(
        "SELECT_V2", [negative, call.binary("ADD", tensor, limit), tensor], tensor.shape, tensor.dtype
    )


LOWERINGS = {
    "Gather": gather,
    "GatherND": gather_nd,
    "GatherElements": gather_elements,
    "ReverseSequence": reverse_sequence,
    "TopK": top_k,
    "OneHot": one_hot,
    "CumSum": cumsum,
    "Trilu": trilu,
}
