"""Normalizations, from the operators that TFLite has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import Call
from edgecut.targets.tflite.ops.reduce import total


def batch_normalization(call: Call) -> Tensor:
    """With constant statistics: one product and one sum per channel."""
    call.float_only()
    call.need(not call.attribute("training_mode", 0), "training mode")
    x = call.input(0)
    scale, bias, mean, variance = (call.constant(i, "a statistic").astype(np.float64) for i in range(1, 5))
    factor = scale / np.sqrt(variance + call.attribute("epsilon", 1e-5))
    along = (1, -1, *[1] * (x.rank - 2)) if x.rank > 1 else (-1,)
    scaled = call.binary("MUL", x, _constant(factor, along))
    return call.binary("ADD", scaled, _constant(bias - mean * factor, along))


def instance_normalization(call: Call) -> Tensor:
    """Over the spatial dimensions of every channel."""
    call.float_only()
    x = call.input(0)
    along = (1, -1, *[1] * (x.rank - 2))
    normal = normalized(call, x, list(range(2, x.rank)), float(call.attribute("epsilon", 1e-5)))
    scaled = call.binary("MUL", normal, call.reshape(call.input(1), _sized(call.input(1), along)))
    return call.binary("ADD", scaled, call.reshape(call.input(2), _sized(call.input(2), along)))


def layer_normalization(call: Call) -> Sequence[Tensor]:
    """Over the dimensions from ``axis`` on; mean and inverse deviation are further results."""
    call.float_only()
    x = call.input(0)
    axes = list(range(call.axis(int(call.attribute("axis", -1)), x.rank), x.rank))
    mean = total(call, "MEAN", x, axes, True)
    centred = call.binary("SUB", x, mean)
    inverse = _inverse_root(call, centred, axes, float(call.attribute("epsilon", 1e-5)))
    out = call.binary("MUL", call.binary("MUL", centred, inverse), call.input(1))
    return [call.binary("ADD", out, call.input(2)) if call.has(2) else out, mean, inverse]


def rms_normalization(call: Call) -> Tensor:
    """Divided by the root of the mean square, over the dimensions from ``axis`` on."""
    call.float_only()
    _only_first(call)
    x = call.input(0)
    axes = list(range(call.axis(int(call.attribute("axis", -1)), x.rank), x.rank))
    out = normalized(call, x, axes, float(call.attribute("epsilon", 1e-5)), centred=False)
    return call.binary("MUL", out, call.input(1)) if call.has(1) else out


def group_normalization(call: Call) -> Tensor:
    """Over groups of channels and the spatial dimensions."""
    call.float_only()
    x, count = call.input(0), int(call.attribute("num_groups"))
    call.need(call.opset >= 21 or call.input(1).shape == (x.shape[1],), "one scale per group")
    n, c = x.shape[:2]
    grouped = call.reshape(x, (n, count, c // count * int(np.prod(x.shape[2:]))))
    normal = normalized(call, grouped, [2], float(call.attribute("epsilon", 1e-5)))
    back = call.reshape(normal, x.shape)
    along = (1, c, *[1] * (x.rank - 2))
    scaled = call.binary("MUL", back, call.reshape(call.input(1), along))
    return call.binary("ADD", scaled, call.reshape(call.input(2), along))


def lp_normalization(call: Call) -> Tensor:
    """Divided by the norm along one axis."""
    call.float_only()
    x, p = call.input(0), int(call.attribute("p", 2))
    axis = call.axis(int(call.attribute("axis", -1)), x.rank)
    if p == 1:
        norm = total(call, "SUM", call.unary("ABS", x), [axis], True)
    else:
        norm = call.unary("SQRT", total(call, "SUM", call.unary("SQUARE", x), [axis], True))
    # All zeros stay zeros, as in ONNX.
    return call.binary("DIV", x, call.binary("MAXIMUM", norm, call.scalar(1e-30)))


def mean_variance_normalization(call: Call) -> Tensor:
    """Mean 0 and variance 1 over the given axes."""
    call.float_only()
    x = call.input(0)
    axes = [call.axis(a, x.rank) for a in call.attribute("axes", [0, 2, 3])]
    return normalized(call, x, axes, 1e-9)


def lrn(call: Call) -> Tensor:
    """Divided by a power of the mean square over neighbouring channels."""
    call.float_only()
    x, size = call.input(0), int(call.attribute("size"))
    call.need(x.rank == 4 and size % 2 == 1, f"rank {x.rank}, size {size}")
    alpha, beta = float(call.attribute("alpha", 1e-4)), float(call.attribute("beta", 0.75))
    last = call.transpose(x, (0, 2, 3, 1))
    options: dict[str, Any] = {
        "radius": size // 2, "bias": float(call.attribute("bias", 1.0)), "alpha": alpha / size, "beta": beta,
    }  # fmt: skip
    out = call.emit("LOCAL_RESPONSE_NORMALIZATION", [last], last.shape, **options)
    return call.transpose(out, (0, 3, 1, 2))


def normalized(call: Call, x: Tensor, axes: list[int], epsilon: float, *, centred: bool = True) -> Tensor:
    """Mean 0 (if centred) and mean square 1 over some axes."""
    if centred:
        x = call.binary("SUB", x, total(call, "MEAN", x, axes, True))
    return call.binary("MUL", x, _inverse_root(call, x, axes, epsilon))


def _inverse_root(call: Call, x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    """1 / sqrt(mean(x^2) + epsilon)."""
    square = total(call, "MEAN", call.binary("MUL", x, x), axes, True)
    return call.unary("RSQRT", call.binary("ADD", square, call.scalar(epsilon)))


def _only_first(call: Call) -> None:
    used = [v for v in call.node.outputs[1:] if v.uses() or v.is_graph_output()]
    call.need(not used, "its statistics are used")


def _constant(numbers: lir.Array, shape: Sequence[int]) -> Tensor:
    return lir.constant(numbers.astype(np.float32).reshape(shape))


def _sized(tensor: Tensor, along: Sequence[int]) -> list[int]:
    return [tensor.shape[0] if n == -1 else n for n in along]


LOWERINGS = {
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "GroupNormalization": group_normalization,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "LRN": lrn,
}
