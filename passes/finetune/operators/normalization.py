"""Operators that sum over axes: reductions, softmax and normalizations."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as oir

from edgecut.passes.finetune.operators import read
from edgecut.passes.finetune.operators.read import Operator, Tensor


def _global(reduce: str) -> Operator:
    def run(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
        axes = tuple(range(2, inputs[0].ndim))
        return getattr(read.torch(), reduce)(inputs[0], dim=axes, keepdim=True)

    return run


def _reduce(name: str) -> Operator:
    def run(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
        axes = read.told(node, "axes", 1)
        dims = tuple(range(inputs[0].ndim)) if axes is None else tuple(axes)
        return getattr(read.torch(), name)(
            inputs[0], dim=dims, keepdim=bool(read.integer(node, "keepdims", 1))
        )

    return run


def _softmax(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    run = read.torch().softmax if node.op_type == "Softmax" else read.torch().log_softmax
    return run(inputs[0], dim=read.integer(node, "axis", -1))


def _layer_norm(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    shape = inputs[0].shape[read.integer(node, "axis", -1) % inputs[0].ndim :]
    if len(node.outputs) > 1:
        raise read.Unsupported("it also gives its statistics")
    scale, bias = inputs[1], inputs[2] if len(inputs) > 2 else None
    epsilon = read.number(node, "epsilon", 1e-5)
    return read.torch().nn.functional.layer_norm(inputs[0], shape, scale, bias, epsilon)


def _batch_norm(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    data, *stored = inputs
    scale, bias, mean, variance = (read.channels(v, data.ndim) for v in stored)
    return (data - mean) / read.torch().sqrt(variance + read.number(node, "epsilon", 1e-5)) * scale + bias


def _instance_norm(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    data, scale, bias = inputs
    axes = tuple(range(2, data.ndim))
    centred = data - data.mean(dim=axes, keepdim=True)
    variance = (centred * centred).mean(dim=axes, keepdim=True)
    normal = centred / read.torch().sqrt(variance + read.number(node, "epsilon", 1e-5))
    return normal * read.channels(scale, data.ndim) + read.channels(bias, data.ndim)


OPERATORS: dict[str, Operator] = {
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
}
