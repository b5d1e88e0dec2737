"""What ONNX operators compute, in torch: those that trained networks are made of after import.

Each function takes the node and its inputs (tensors of one sample, with the batch axis of size 1 that the
graph has) and returns its outputs. Integers that say how (shapes, axes) are constants of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from edgecut.ir.errors import ModelError
from edgecut.ir.program import static_shape

Tensor = Any
Operator = Callable[[oir.Node, Sequence[Tensor]], Tensor]


class Unsupported(Exception):  # noqa: N818 - says why, is caught by the module
    """A form of an operator that is not written here."""


def compute(node: oir.Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """The outputs of a node.

    Raises:
        ModelError: The operator, or this form of it, cannot be trained.
    """
    operator = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if operator is None:
        raise ModelError(f"cannot train through the operator {node.op_type}", where=node.name, hint=_HINT)
    try:
        found = operator(node, inputs)
    except Unsupported as reason:
        what = f"cannot train through this {node.op_type}: {reason}"
        raise ModelError(what, where=node.name, hint=_HINT) from reason
    return found if isinstance(found, (list, tuple)) else [found]


_HINT = "prune without finetune, or train it where it was made"


def _convolution(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    torch = _torch()
    data, weight, *bias = inputs
    rank = weight.ndim - 2
    pads, strides, dilations = _window(node, rank)
    if rank == 2 and not _is_vectorized(data):
        data = data.contiguous(memory_format=torch.channels_last)  # much the faster on a CPU
    run = (torch.conv1d, torch.conv2d, torch.conv3d)[rank - 1]
    if pads[:rank] == pads[rank:]:
        padded, both = data, pads[:rank]
    else:
        padded, both = torch.nn.functional.pad(data, _torch_pads(pads, rank)), [0] * rank
    return run(
        padded, weight, *bias, stride=strides, padding=both, dilation=dilations, groups=_int(node, "group", 1)
    )


def _transposed_convolution(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    functional = _torch().nn.functional
    data, weight, *bias = inputs
    rank = weight.ndim - 2
    pads, strides, dilations = _window(node, rank)
    if pads[:rank] != pads[rank:] or "output_shape" in node.attributes:
        raise Unsupported("its padding differs between the sides")
    run = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[rank - 1]
    return run(
        data, weight, *bias, stride=strides, padding=pads[:rank], dilation=dilations,
        groups=_int(node, "group", 1), output_padding=_ints(node, "output_padding", [0] * rank),
    )  # fmt: skip


def _gemm(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    left = inputs[0].mT if _int(node, "transA", 0) else inputs[0]
    right = inputs[1].mT if _int(node, "transB", 0) else inputs[1]
    product = _float(node, "alpha", 1.0) * (left @ right)
    return product + _float(node, "beta", 1.0) * inputs[2] if len(inputs) > 2 else product


def _max_pool(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    functional = _torch().nn.functional
    if len(node.outputs) > 1:
        raise Unsupported("it also gives indices")
    kernel, pads, strides, dilations = _pool(node)
    rank = len(kernel)
    padded = functional.pad(inputs[0], _torch_pads(pads, rank), value=float("-inf"))
    run = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[rank - 1]
    return run(padded, kernel, strides, dilation=dilations)


def _average_pool(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    functional = _torch().nn.functional
    kernel, pads, strides, dilations = _pool(node)
    rank = len(kernel)
    if any(d != 1 for d in dilations):
        raise Unsupported("it is dilated")
    run = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[rank - 1]
    padded = functional.pad(inputs[0], _torch_pads(pads, rank))
    found = run(padded, kernel, strides)
    if _int(node, "count_include_pad", 0) or not any(pads):
        return found
    ones = functional.pad(_torch().ones_like(inputs[0]), _torch_pads(pads, rank))
    return found / run(ones, kernel, strides)


def _global(reduce: str) -> Operator:
    def run(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
        axes = tuple(range(2, inputs[0].ndim))
        return getattr(_torch(), reduce)(inputs[0], dim=axes, keepdim=True)

    return run


def _reduce(name: str) -> Operator:
    def run(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
        axes = _told(node, "axes", 1)
        dims = tuple(range(inputs[0].ndim)) if axes is None else tuple(axes)
        return getattr(_torch(), name)(inputs[0], dim=dims, keepdim=bool(_int(node, "keepdims", 1)))

    return run


def _softmax(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    run = _torch().softmax if node.op_type == "Softmax" else _torch().log_softmax
    return run(inputs[0], dim=_int(node, "axis", -1))


def _layer_norm(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    shape = inputs[0].shape[_int(node, "axis", -1) % inputs[0].ndim :]
    if len(node.outputs) > 1:
        raise Unsupported("it also gives its statistics")
    scale, bias = inputs[1], inputs[2] if len(inputs) > 2 else None
    epsilon = _float(node, "epsilon", 1e-5)
    return _torch().nn.functional.layer_norm(inputs[0], shape, scale, bias, epsilon)


def _batch_norm(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    data, *stored = inputs
    scale, bias, mean, variance = (_channels(v, data.ndim) for v in stored)
    return (data - mean) / _torch().sqrt(variance + _float(node, "epsilon", 1e-5)) * scale + bias


def _instance_norm(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    data, scale, bias = inputs
    axes = tuple(range(2, data.ndim))
    centred = data - data.mean(dim=axes, keepdim=True)
    variance = (centred * centred).mean(dim=axes, keepdim=True)
    normal = centred / _torch().sqrt(variance + _float(node, "epsilon", 1e-5))
    return normal * _channels(scale, data.ndim) + _channels(bias, data.ndim)


def _clip(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    found = inputs[0]
    low = (
        inputs[1]
        if len(inputs) > 1
        else node.attributes["min"].as_float()
        if "min" in node.attributes
        else None
    )
    high = (
        inputs[2]
        if len(inputs) > 2
        else node.attributes["max"].as_float()
        if "max" in node.attributes
        else None
    )
    found = found if low is None else _torch().maximum(found, _torch().as_tensor(low, dtype=found.dtype))
    return found if high is None else _torch().minimum(found, _torch().as_tensor(high, dtype=found.dtype))


def _concat(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return _torch().cat(list(inputs), dim=_int(node, "axis", 0))


def _split(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    axis = _int(node, "axis", 0)
    sizes = [_shape(v)[axis] for v in node.outputs]
    return _torch().split(inputs[0], sizes, dim=axis)


def _slice(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    starts, ends = _told(node, "starts", 1) or [], _told(node, "ends", 2) or []
    axes = _told(node, "axes", 3) or list(range(len(starts)))
    steps = _told(node, "steps", 4) or [1] * len(starts)
    found = inputs[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise Unsupported("it goes backwards")
        at = range(found.shape[axis])[start:end:step]
        found = (
            found.narrow(axis, at.start, max(0, at.stop - at.start)) if step == 1 else _pick(found, axis, at)
        )
    return found


def _pick(data: Tensor, axis: int, at: Sequence[int]) -> Tensor:
    return _torch().index_select(data, axis, _torch().tensor(list(at)))


def _pad(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    pads, axes = _told(node, "pads", 1) or [], _told(node, "axes", 3)
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    if mode != "constant" or axes is not None:
        raise Unsupported("its mode or axes")
    value = float(inputs[2]) if len(inputs) > 2 else 0.0
    return _torch().nn.functional.pad(inputs[0], _torch_pads(pads, len(pads) // 2), value=value)


def _gather(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    data, at = inputs
    axis = _int(node, "axis", 0) % data.ndim
    at = _torch().where(at < 0, at + data.shape[axis], at).long()
    return data[(slice(None),) * axis + (at,)]


def _resize(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    before, after = _shape(node.inputs[0]), _shape(node.outputs[0])
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "nearest"
    factors = [b / a for a, b in zip(before, after, strict=True)]
    if mode != "nearest" or any(f != int(f) for f in factors):
        raise Unsupported("only nearest neighbours by whole factors")
    found = inputs[0]
    for axis, factor in enumerate(factors):
        found = found if factor == 1 else found.repeat_interleave(int(factor), dim=axis)
    return found


def _cast(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    kind = oir.DataType(node.attributes["to"].as_int()).numpy()
    return inputs[0].to(getattr(_torch(), np.dtype(kind).name))


def _hard_sigmoid(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return (_float(node, "alpha", 0.2) * inputs[0] + _float(node, "beta", 0.5)).clamp(0, 1)


def _prelu(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].clamp(min=0) + inputs[1] * inputs[0].clamp(max=0)


def _gelu(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    form = node.attributes["approximate"].as_string() if "approximate" in node.attributes else "none"
    return _torch().nn.functional.gelu(inputs[0], approximate=form)


def _plain(name: str) -> Operator:
    """A function of torch that takes the inputs as they are."""
    return lambda node, inputs: getattr(_torch(), name)(*inputs)


def _functional(name: str) -> Operator:
    return lambda node, inputs: getattr(_torch().nn.functional, name)(*inputs)


def _reshape(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    data, shape = inputs[0], _shape(node.outputs[0])
    # A first axis of one may be that of a batch.
    return data.reshape(-1, *shape[1:]) if shape[:1] == (1,) and data.ndim else data.reshape(shape)


def _transpose(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].permute(_ints(node, "perm", list(range(inputs[0].ndim))[::-1]))


def _torch() -> Any:
    import torch

    return torch


def _is_vectorized(tensor: Tensor) -> bool:
    """Whether it stands for one sample of a batch."""
    return bool(_torch()._C._functorch.is_batchedtensor(tensor))


def _shape(value: oir.Value | None) -> tuple[int, ...]:
    found = None if value is None else static_shape(value)
    if found is None:
        raise Unsupported("a shape is not known")
    return found


def _window(node: oir.Node, rank: int) -> tuple[list[int], list[int], list[int]]:
    if "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string() != "NOTSET":
        raise Unsupported("auto_pad; import the model first")
    found = (("pads", 0, 2 * rank), ("strides", 1, rank), ("dilations", 1, rank))
    pads, strides, dilations = (_ints(node, name, [default] * size) for name, default, size in found)
    return pads, strides, dilations


def _pool(node: oir.Node) -> tuple[list[int], list[int], list[int], list[int]]:
    kernel = _ints(node, "kernel_shape", [])
    if _int(node, "ceil_mode", 0):
        raise Unsupported("ceil_mode")
    return (kernel, *_window(node, len(kernel)))


def _torch_pads(pads: Sequence[int], rank: int) -> list[int]:
    """From all begins and all ends to pairs, last axis first."""
    return [p for axis in reversed(range(rank)) for p in (pads[axis], pads[rank + axis])]


def _channels(vector: Tensor, rank: int) -> Tensor:
    return vector.reshape(1, -1, *[1] * (rank - 2))


def _told(node: oir.Node, name: str, index: int) -> list[int] | None:
    """Integers from an attribute (older operator sets) or a constant input."""
    if name in node.attributes:
        return list(node.attributes[name].as_ints())
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None:
        return None
    if value.const_value is None:
        raise Unsupported(f"its {name} are computed")
    return [int(i) for i in np.atleast_1d(value.const_value.numpy())]


def _int(node: oir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _ints(node: oir.Node, name: str, default: list[int]) -> list[int]:
    return list(node.attributes[name].as_ints()) if name in node.attributes else default


def _float(node: oir.Node, name: str, default: float) -> float:
    return node.attributes[name].as_float() if name in node.attributes else default


def _first(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0]


def _sum(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return sum(inputs[1:], inputs[0])


_PLAIN = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow", "Max": "maximum", "Min": "minimum",
    "MatMul": "matmul", "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Erf": "erf", "Exp": "exp",
    "Log": "log", "Sqrt": "sqrt", "Abs": "abs", "Neg": "neg", "Reciprocal": "reciprocal", "Where": "where",
    "Sin": "sin", "Cos": "cos",
}  # fmt: skip
OPERATORS: dict[str, Operator] = {
    **{op: _plain(name) for op, name in _PLAIN.items()},
    **{op: _functional(op.lower()) for op in ("Selu", "Softplus", "Softsign", "Mish", "HardSwish")},
    "Elu": lambda node, inputs: _torch().nn.functional.elu(inputs[0], _float(node, "alpha", 1.0)),
    "LeakyRelu": lambda node, inputs: _torch().nn.functional.leaky_relu(
        inputs[0], _float(node, "alpha", 0.01)
    ),
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global("mean"),
    "GlobalMaxPool": _global("amax"),
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "ReduceMax": _reduce("amax"),
    "ReduceMin": _reduce("amin"),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "PRelu": _prelu,
    "Gelu": _gelu,
    "Sum": _sum,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Gather": _gather,
    "Resize": _resize,
    "Cast": _cast,
    "Transpose": _transpose,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Identity", "Dropout"), _first),
}
