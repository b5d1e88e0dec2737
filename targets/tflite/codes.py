"""What the schema calls operators and types, and the versions that operators have."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from edgecut.targets.tflite.lir import Op

# Options tables whose name is not that of their operator.
_OPTIONS = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), "Pool2DOptions"),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), "ReducerOptions"),
    **dict.fromkeys(("REDUCE_ANY", "REDUCE_ALL"), "ReducerOptions"),
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    "CUMSUM": "CumsumOptions",
    "PADV2": "PadV2Options",
    "SELECT_V2": "SelectV2Options",
    "TOPK_V2": "TopKV2Options",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "BidirectionalSequenceLSTMOptions",
    "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalizationOptions",
    "L2_NORMALIZATION": "L2NormOptions",
}  # fmt: skip
_TYPES = {
    "float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9,
    "float64": 10, "uint32": 15, "uint16": 16, "int4": 17,
}  # fmt: skip
# Lowest operator version that has what we use; runtimes refuse lower ones for quantized tensors.
_VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 5, "BATCH_MATMUL": 3, "BROADCAST_TO": 2,
    "TRANSPOSE_CONV": 4,
}  # fmt: skip
# The same where they read or write integers of 16 bits.
_WIDE = {
    "CONV_2D": 4, "DEPTHWISE_CONV_2D": 5, "FULLY_CONNECTED": 7, "ADD": 3, "SUB": 5, "MUL": 4, "QUANTIZE": 2,
    "DEQUANTIZE": 3, "MAX_POOL_2D": 3, "TRANSPOSE": 5, "SPLIT": 4, "SLICE": 4, "GATHER": 4, "PAD": 3,
    "PADV2": 3, "MIRROR_PAD": 3, "CONCATENATION": 3, "MEAN": 3, "REDUCE_MAX": 3, "REDUCE_MIN": 3,
    "LEAKY_RELU": 2, "RESIZE_NEAREST_NEIGHBOR": 4,
}  # fmt: skip
# And where they say how wide their sums are.
_BIASED = {"CONV_2D": 8, "FULLY_CONNECTED": 11}


def version(op: Op) -> int:
    """The lowest version of an operator that does what this one does."""
    if "quantizedBiasType" in op.options:
        return _BIASED[op.kind]
    tensors = [t for t in (*op.inputs, *op.outputs) if t is not None]
    wide = any(t.quant is not None and t.dtype == np.int16 for t in tensors)
    least = _VERSIONS.get(op.kind, 1)
    return _WIDE.get(op.kind, least) if wide else least


@functools.cache
def number(dtype: np.dtype[Any]) -> int:
    """The number of a type in the schema."""
    return _TYPES[dtype.name]


@functools.cache
def options_name(kind: str) -> str:
    """The table of an operator's options, which some operators have not."""
    if kind in _OPTIONS:
        return _OPTIONS[kind]
    return "".join(part.capitalize() for part in kind.split("_")).replace("2d", "2D") + "Options"
