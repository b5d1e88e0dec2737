"""Writing elements by index: ScatterND, ScatterElements, with any reduction."""

from __future__ import annotations

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Tensor
from edgecut.targets.tflite.ops.base import BOOL, FLOAT, INT32, INT64, Call
from edgecut.targets.tflite.ops.gather import element_rows, from_front

_PAIRWISE = {"mul": "MUL", "max": "MAXIMUM", "min": "MINIMUM", "add": "ADD"}
_MOST = 64
"""Updates of one element at most, where they are combined one by one."""
_TABLE = 1 << 22
"""Numbers in a table of all updates by all elements at most, where indices are computed."""


def scatter_nd(call: Call) -> Tensor:
    """Write, add, multiply or compare slices at rows of indices."""
    x, indices = call.input(0), call.known(1)
    sizes = x.shape[: call.input(1).shape[-1]]
    if indices is not None:
        return _scattered(call, np.where(indices < 0, indices + np.array(sizes), indices))
    return _computed(call, from_front(call, call.input(1), np.array(sizes)))


def scatter_elements(call: Call) -> Tensor:
    """The same for single elements along an axis: their indices written out."""
    x, indices = call.input(0), call.known(1)
    axis = call.axis(int(call.attribute("axis", 0)), x.rank)
    if indices is None:
        column = from_front(call, call.input(1), np.array(x.shape[axis]))
        return _computed(call, element_rows(call, column, axis))
    grid = np.indices(indices.shape)
    grid[axis] = np.where(indices < 0, indices + x.shape[axis], indices)
    return _scattered(call, np.moveaxis(grid, 0, -1))


def _scattered(call: Call, indices: Array) -> Tensor:
    """At constant rows of indices."""
    x, updates, how = call.input(0), call.input(2), call.attribute("reduction", "none")
    call.need(x.dtype in (FLOAT, INT32, INT64), f"type {x.dtype}")
    if how not in ("none", "add"):
        return _combined(call, indices, _PAIRWISE[how])
    flat = indices.reshape(-1, indices.shape[-1])
    new = _placed(call, lir.constant(indices.astype(np.int32)), updates)
    if how == "add":
        return call.binary("ADD", x, new)
    call.need(len(np.unique(flat, axis=0)) == len(flat), "an index that is written twice")
    call.need(x.rank <= 5, f"rank {x.rank}")
    mask = np.zeros(x.shape, bool)
    mask[tuple(flat.T)] = True
    return call.emit("SELECT_V2", [lir.constant(mask), new, x], x.shape, x.dtype)


def _placed(call: Call, rows: Tensor, updates: Tensor) -> Tensor:
    """Updates where they belong and zeros elsewhere; SCATTER_ND adds up what is written twice."""
    shape = call.input(0).shape
    return call.emit("SCATTER_ND", [rows, updates, lir.integers(shape)], shape, updates.dtype)


def _computed(call: Call, rows: Tensor) -> Tensor:
    """At rows of indices that are computed, no two the same unless they are added, as ONNX demands."""
    x, updates, how = call.input(0), call.input(2), call.attribute("reduction", "none")
    call.need(x.dtype in (FLOAT, INT32, INT64), f"type {x.dtype}")
    if how not in ("none", "add"):
        return _reduced(call, rows, how)
    new = _placed(call, rows, updates)
    if how == "add":
        return call.binary("ADD", x, new)
    call.need(x.rank <= 5, f"rank {x.rank}")
    written = _placed(call, rows, lir.constant(np.ones(updates.shape, np.float32)))
    mask = call.binary("GREATER", written, call.scalar(0.5), BOOL)
    return call.emit("SELECT_V2", [mask, new, x], x.shape, x.dtype)


def _reduced(call: Call, rows: Tensor, how: str) -> Tensor:
    """A table of every update by every place, with the update where it belongs, reduced over the updates."""
    x, updates, depth = call.input(0), call.input(2), rows.shape[-1]
    sizes = x.shape[:depth]
    count, size = int(np.prod(sizes)), int(np.prod(x.shape[depth:]))
    number = int(np.prod(rows.shape[:-1]))
    call.need(
        number * count * size <= _TABLE, f"reduction {how} of {number} updates at computed places of {count}"
    )
    strides = np.array([np.prod(sizes[i + 1 :]) for i in range(depth)], np.int32)[None]
    flat = call.binary("MUL", call.reshape(rows, (number, depth)), lir.constant(strides))
    places = call.emit("SUM", [flat, lir.integers([1])], (number,), keepDims=False)
    every = lir.integers(range(count))
    belongs = call.binary("EQUAL", call.reshape(places, (number, 1)), call.reshape(every, (1, count)), BOOL)
    low: float = -np.inf if x.dtype == FLOAT else np.iinfo(x.dtype).min
    high: float = np.inf if x.dtype == FLOAT else np.iinfo(x.dtype).max
    neutral, kind = {"mul": (1, "REDUCE_PROD"), "max": (low, "REDUCE_MAX"), "min": (high, "REDUCE_MIN")}[how]
    operands = [
        call.reshape(belongs, (number, count, 1)),
        call.reshape(updates, (number, 1, size)),
        lir.constant(np.full((1, 1, 1), neutral, x.dtype)),
    ]
    table = call.emit("SELECT_V2", operands, (number, count, size), x.dtype)
    made = call.emit(kind, [table, lir.integers([0])], (count, size), keepDims=False)
    return call.binary(_PAIRWISE[how], x, call.reshape(made, x.shape))


def _combined(call: Call, indices: Array, kind: str) -> Tensor:
    """Combine each slice with its first update, then with its second, and so on."""
    x, updates = call.input(0), call.input(2)
    depth = indices.shape[-1]
    count, size = (int(np.prod(d, dtype=np.int64)) for d in (x.shape[:depth], x.shape[depth:]))
    call.need(depth > 0, "indices without columns")
    places = np.atleast_1d(
        np.ravel_multi_index(tuple(indices.reshape(-1, depth).T), x.shape[:depth])
    ).tolist()
    queues: list[list[int]] = [[] for _ in range(count)]
    for update, place in enumerate(places):
        queues[place].append(update)
    turns = max(map(len, queues), default=0)
    call.need(turns <= _MOST, f"{turns} updates of one element")
    rows = call.reshape(updates, (len(places), size))
    found = call.reshape(x, (count, size))
    for turn in range(turns):
        due = np.array([[len(q) > turn] for q in queues])
        taken = lir.integers(q[turn] if len(q) > turn else 0 for q in queues)
        own = call.emit("GATHER", [rows, taken], (count, size), axis=0, batchDims=0)
        new = call.binary(kind, found, own)
        found = new if due.all() else call.emit("SELECT_V2", [lir.constant(due), new, found], new.shape)
        found.dtype = x.dtype
    return call.reshape(found, x.shape)


LOWERINGS = {"ScatterND": scatter_nd, "ScatterElements": scatter_elements}
