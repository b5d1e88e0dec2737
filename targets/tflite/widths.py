"""What LiteRT's kernels compute on integers of 8 and of 16 bits, and where the two differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecut.targets.tflite import signs
from edgecut.targets.tflite.lir import Tensor

_MOVES = frozenset((
    "RESHAPE", "TRANSPOSE", "PAD", "PADV2", "MIRROR_PAD", "SLICE", "STRIDED_SLICE", "GATHER", "TILE",
    "MAX_POOL_2D", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_NEAREST_NEIGHBOR",
))  # fmt: skip
_INT32 = 2
"""The type's number in the schema."""


@dataclass(frozen=True)
class Width:
    """The integers that operators read and write."""

    dtype: np.dtype[Any]
    moves: frozenset[str]
    """Operators that keep numbers as they are."""
    fixed: Mapping[str, tuple[float, int]]
    """Functions with a kernel, and the one scale and zero point that it gives."""

    @property
    def most(self) -> int:
        """The largest integer."""
        return int(np.iinfo(self.dtype).max)

    def options(self, kind: str) -> dict[str, Any]:
        """What an operator has to say: sums of 16 bits take scales for powers of two if it says nothing."""
        return {"potScaleInt16": False} if self is INT16 and kind in ("ADD", "SUB") else {}


# The kernels of 16 bits for TANH and SOFTMAX are wrong by several steps, and that for LOGISTIC by the
# whole range where it reads -32768. They are slower than float besides.
INT8 = Width(
    np.dtype(np.int8),
    _MOVES | {"DEPTH_TO_SPACE", "SPACE_TO_DEPTH"},
    {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)},
)
INT16 = Width(np.dtype(np.int16), _MOVES, {})


def accumulator(kind: str, x: Tensor, weights: Tensor, bias: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """The bias of a kernel on 16 bits, and options, which say how wide its sums are.

    In 64 bits LiteRT computes one product after the other; in 32 as a matrix product, much
    faster. So 32 where no input can overflow that, in convolutions and matrix products; the other kernels
    have 64 only.

    Args:
        kind: Operator.
        x: Its input, int16.
        weights: int8; output channels along the first axis, for convolutions and matrix products.
        bias: int32, one number per output channel.
    """
    assert weights.data is not None
    assert bias.data is not None
    if kind in ("CONV_2D", "FULLY_CONNECTED"):
        rows = weights.data.astype(np.int64).reshape(weights.shape[0], -1)
        up, down = np.maximum(rows, 0).sum(axis=1), np.maximum(-rows, 0).sum(axis=1)
        sums = np.maximum(up, down) if signs.non_negative(x) else up + down
        largest = (sums << 15) + np.abs(bias.data.astype(np.int64))
        if largest.max(initial=0) <= np.iinfo(np.int32).max:
            return bias, {"quantizedBiasType": _INT32}
    wide = bias.data.astype(np.int64)
    return Tensor(bias.shape, wide.dtype, data=wide, quant=bias.quant), {}
