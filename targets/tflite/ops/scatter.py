"""Writing elements by index: ScatterND, ScatterElements."""

from __future__ import annotations

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Tensor
from edgecut.targets.tflite.ops.base import FLOAT, INT32, INT64, Call


def scatter_nd(call: Call) -> Tensor:
    """Write, add or compare slices at constant indices."""
    indices = call.constant(1, "indices")
    sizes = np.array(call.input(0).shape[: indices.shape[-1]])
    return _scattered(call, np.where(indices < 0, indices + sizes, indices))


def scatter_elements(call: Call) -> Tensor:
    """The same for single elements along an axis: their indices written out."""
    x, indices = call.input(0), call.constant(1, "indices")
    axis = call.axis(int(call.attribute("axis", 0)), x.rank)
    grid = np.indices(indices.shape)
    grid[axis] = np.where(indices < 0, indices + x.shape[axis], indices)
    return _scattered(call, np.moveaxis(grid, 0, -1))


def _scattered(call: Call, indices: Array) -> Tensor:
    x, updates, how = call.input(0), call.input(2), call.attribute("reduction", "none")
    call.need(x.dtype in (FLOAT, INT32, INT64), f"type {x.dtype}")
    call.need(how in ("none", "add"), f"reduction {how}")
    flat = indices.reshape(-1, indices.shape[-1])
    # SCATTER_ND adds up what is written twice.
    new = call.emit("SCATTER_ND", [lir.constant(indices.astype(np.int32)), updates, lir.integers(x.shape)],
                    x.shape, x.dtype)  # fmt: skip
    if how == "add":
        return call.binary("ADD", x, new)
    call.need(len(np.unique(flat, axis=0)) == len(flat), "an index that is written twice")
    call.need(x.rank <= 5, f"rank {x.rank}")
    mask = np.zeros(x.shape, bool)
    mask[tuple(flat.T)] = True
    return call.emit("SELECT_V2", [lir.constant(mask), new, x], x.shape, x.dtype)


LOWERINGS = {"ScatterND": scatter_nd, "ScatterElements": scatter_elements, "Scatter": scatter_elements}
