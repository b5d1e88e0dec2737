"""What is known of the sign of a tensor's numbers, from the operators that make it."""

from __future__ import annotations

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor

_NEVER_BELOW = ("RELU", "RELU6", "RELU_0_TO_1", "LOGISTIC", "SOFTMAX", "ABS", "SQUARE")
_KEEP_SIGN = (
    "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "TRANSPOSE",
    "PAD", "SLICE", "RESIZE_NEAREST_NEIGHBOR",
)  # fmt: skip


def non_negative(tensor: Tensor) -> bool:
    """Whether an activation or a square keeps a tensor from being negative."""
    op = tensor.op
    if op is None:
        return False
    if op.kind in _NEVER_BELOW:
        return True
    if op.kind == "MUL" and op.inputs[0] is op.inputs[1]:
        return True
    if op.kind == "DEQUANTIZE" and op.inputs[0] is not None and op.inputs[0].dtype == np.int8:
        quant = op.inputs[0].quant
        return quant is not None and bool((quant.zero == -128).all())
    if op.kind in _KEEP_SIGN and op.inputs[0] is not None:
        return non_negative(op.inputs[0])
    return op.options.get("fusedActivationFunction", 0) in (1, 3)


def positive(tensor: Tensor) -> bool:
    """Whether a tensor is kept above zero, by a positive number that is added to one not below it."""
    op = tensor.op
    if tensor.is_constant:
        return bool((lir.real(tensor) > 0).all())
    if op is None or op.kind not in ("ADD", "MAXIMUM", "RESHAPE", "TRANSPOSE"):
        return False
    if op.kind in ("RESHAPE", "TRANSPOSE"):
        return op.inputs[0] is not None and positive(op.inputs[0])
    for number, other in (op.inputs[:2], op.inputs[1::-1]):
        if number is not None and other is not None and positive(number):
            return op.kind == "MAXIMUM" or non_negative(other) or positive(other)
    return False
