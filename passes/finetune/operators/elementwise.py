"""Operators that compute each number by itself: arithmetic and activations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as oir

from edgecut.passes.finetune.operators import read
from edgecut.passes.finetune.operators.read import Operator, Tensor


def _clip(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    found, torch = inputs[0], read.torch()
    for at, name, limit in ((1, "min", torch.maximum), (2, "max", torch.minimum)):
        bound = _bound(node, inputs, at, name)
        if bound is not None:
            found = limit(found, torch.as_tensor(bound, dtype=found.dtype))
    return found


def _bound(node: oir.Node, inputs: Sequence[Tensor], at: int, name: str) -> Tensor | float | None:
    """An input, or an attribute in models of old opsets."""
    if len(inputs) > at:
        return inputs[at]
    return node.attributes[name].as_float() if name in node.attributes else None


def _cast(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    kind = oir.DataType(node.attributes["to"].as_int()).numpy()
    return inputs[0].to(getattr(read.torch(), np.dtype(kind).name))


def _hard_sigmoid(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return (read.number(node, "alpha", 0.2) * inputs[0] + read.number(node, "beta", 0.5)).clamp(0, 1)


def _prelu(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].clamp(min=0) + inputs[1] * inputs[0].clamp(max=0)


def _gelu(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    form = node.attributes["approximate"].as_string() if "approximate" in node.attributes else "none"
    return read.torch().nn.functional.gelu(inputs[0], approximate=form)


def _first(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0]


def _sum(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return sum(inputs[1:], inputs[0])


def _plain(name: str) -> Operator:
    """A function of torch that takes the inputs as they are."""
    return lambda node, inputs: getattr(read.torch(), name)(*inputs)


def _functional(name: str) -> Operator:
    return lambda node, inputs: getattr(read.torch().nn.functional, name)(*inputs)


_PLAIN = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow", "Max": "maximum", "Min": "minimum",
    "MatMul": "matmul", "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Erf": "erf", "Exp": "exp",
    "Log": "log", "Sqrt": "sqrt", "Abs": "abs", "Neg": "neg", "Reciprocal": "reciprocal", "Where": "where",
    "Sin": "sin", "Cos": "cos",
}  # fmt: skip

OPERATORS: dict[str, Operator] = {
    **{op: _plain(name) for op, name in _PLAIN.items()},
    **{op: _functional(op.lower()) for op in ("Selu", "Softplus", "Softsign", "Mish", "HardSwish")},
    "Elu": lambda node, inputs: read.torch().nn.functional.elu(inputs[0], read.number(node, "alpha", 1.0)),
    "LeakyRelu": lambda node, inputs: read.torch().nn.functional.leaky_relu(
        inputs[0], read.number(node, "alpha", 0.01)
    ),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "PRelu": _prelu,
    "Gelu": _gelu,
    "Sum": _sum,
    "Cast": _cast,
    **dict.fromkeys(("Identity", "Dropout"), _first),
}
