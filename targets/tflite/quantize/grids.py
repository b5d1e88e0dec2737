"""Tensors and operators on integers: what the other modules here are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecut.targets.tflite import lir, relabel
from edgecut.targets.tflite.fuse import ACTIVATIONS, WEIGHTED
from edgecut.targets.tflite.lir import Array, Op, Quant, Tensor

PLACES = {
    **dict.fromkeys(WEIGHTED, (0, 1, 2, 0)),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "TRANSPOSE_CONV": (2, 1, 3, 0),
}
"""Where an operator has its data, weights and bias, and the axis of its output channels in the weights."""
# Where activations limit from above, and those that limit below only.
_BOUNDS = {
    ACTIVATIONS["RELU6"]: (6.0, ACTIVATIONS["RELU"]),
    ACTIVATIONS["RELU_N1_TO_1"]: (1.0, 0),
}


def quant_of(op: Op) -> Quant:
    """The grid of what an operator gives."""
    assert op.output.quant is not None
    return op.output.quant


def given(op: Op, index: int) -> Tensor:
    """An input that is there."""
    tensor = op.inputs[index]
    assert tensor is not None
    return tensor


def is_number(tensor: Tensor) -> bool:
    """Whether a tensor is a single number that is known."""
    return tensor.data is not None and tensor.quant is None and tensor.data.size == 1


def constant(numbers: Array, quant: Quant, dtype: np.dtype[Any]) -> Tensor:
    """Numbers as integers, as ONNX rounds them."""
    limits = np.iinfo(dtype)
    steps = np.rint(numbers.astype(np.float64) / quant.scale[0]) + quant.zero[0]
    return lir.constant(np.clip(steps, limits.min, limits.max).astype(dtype), quant)


def converted(
    op: Op,
    inputs: list[Tensor | None],
    quant: Quant,
    sources: frozenset[str],
    options: dict[str, Any] | None = None,
) -> Tensor:
    """The operator on integers, of the type of its data."""
    copy = lir.like(op, inputs, sources=sources, options=options or {})
    data = inputs[PLACES[op.kind][0] if op.kind in PLACES else 0]
    assert data is not None
    copy.output.dtype = data.dtype
    copy.output.quant = quant
    bound, weaker = _BOUNDS.get(copy.options.get("fusedActivationFunction", 0), (0.0, 0))
    if bound > np.iinfo(np.int32).max * float(quant.scale[0]):
        # No integer reaches it, and runtimes refuse to count its steps.
        copy.options["fusedActivationFunction"] = weaker
    return copy.output


def rescaled(stored: Tensor, quant: Quant, sources: frozenset[str]) -> Tensor:
    """Integers on another grid."""
    if quant.same(stored.quant):
        return stored
    if stored.is_constant:
        return constant(lir.real(stored), quant, stored.dtype)
    return relabel.product(stored, 1.0, quant, sources)


def requantized(stored: Tensor, op: Op, sources: frozenset[str] = frozenset()) -> Tensor:
    """Integers in the scale that a QUANTIZE asks for."""
    return rescaled(stored, quant_of(op), op.sources | sources)
