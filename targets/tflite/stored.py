"""Weights of float operators as small as the program stores them.

A kernel reads float32 weights through a DEQUANTIZE of the stored ones, which runtimes compute once, when they
load the file: float arithmetic with the same numbers, a half (float16), quarter (int8) or eighth (4 bits)
of the size. In dynamic quantization the kernel takes the integers instead, and rounds its input by itself.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.fuse import WEIGHTED
from edgecut.targets.tflite.lir import Graph, Op, Quant, Tensor

INT4 = np.dtype(ml_dtypes.int4)
# Below that, the operator takes more room than the numbers would.
_SMALLEST = 256
# What reads its weights, the second input, through a DEQUANTIZE without losing speed.
_READERS = (*WEIGHTED, "TRANSPOSE_CONV")
# Which axis of the weights their kernels may have a scale for.
_HYBRID = {"FULLY_CONNECTED": 0, "CONV_2D": 0}


def is_weight(op: Op, index: int) -> bool:
    """Whether an input is the weights of an operator that may read them as they are stored."""
    tensor = op.inputs[index]
    if op.kind not in _READERS or index != 1 or tensor is None or tensor.data is None or tensor.quant is None:
        return False
    return tensor.dtype in (np.int8, np.float16) and tensor.data.size >= _SMALLEST


def run(graph: Graph, *, dynamic: bool) -> None:
    """Let every float operator with stored weights read them.

    Args:
        graph: With weights of float operators still as they are stored.
        dynamic: Compute with integers where there are kernels for it.
    """
    made: dict[tuple[Tensor, bool], Tensor] = {}
    for op in lir.order(graph.values.values()):
        weights = op.inputs[1] if op.kind in _READERS else None
        if weights is None or op.output.dtype != np.float32 or not is_weight(op, 1):
            continue
        narrow = op.kind == "FULLY_CONNECTED"
        if dynamic and _has_hybrid(op, weights):
            op.inputs[1] = _narrow(weights) if narrow else weights
            if narrow:
                op.options["asymmetricQuantizeInputs"] = True
            continue
        if (weights, narrow) not in made:
            made[weights, narrow] = _dequantized(_narrow(weights) if narrow else weights, op.sources)
        op.inputs[1] = made[weights, narrow]


def _has_hybrid(op: Op, weights: Tensor) -> bool:
    x, quant = op.inputs[0], weights.quant
    if op.kind not in _HYBRID or weights.dtype != np.int8 or x is None or quant is None or quant.zero.any():
        return False
    grouped = op.kind == "CONV_2D" and x.shape[3] != weights.shape[3]
    return not grouped and (quant.per_tensor or quant.axis == _HYBRID[op.kind])


def _dequantized(stored: Tensor, sources: frozenset[str]) -> Tensor:
    if stored.dtype == np.float16:
        stored = Tensor(stored.shape, stored.dtype, stored.data)
    (out,) = lir.emit("DEQUANTIZE", [stored], [stored.shape], [np.float32], sources)
    return out


def _narrow(weights: Tensor) -> Tensor:
    """Integers that need no more than 4 bits, in 4 bits.

    For matrices only: convolutions unpack them at every call, which is far slower than float.
    """
    data, quant = weights.data, weights.quant
    assert data is not None
    if (
        weights.dtype != np.int8
        or quant is None
        or quant.zero.any()
        or np.abs(data.astype(np.int16)).max() > 7
    ):
        return weights
    return Tensor(weights.shape, INT4, data.astype(INT4), Quant(quant.scale, quant.zero, quant.axis))
