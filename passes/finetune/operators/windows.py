"""Operators that slide a window over rows and columns, and matrix products: convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as oir

from edgecut.passes.finetune.operators import read
from edgecut.passes.finetune.operators.read import Operator, Tensor


def _convolution(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    torch = read.torch()
    data, weight, *bias = inputs
    rank = weight.ndim - 2
    pads, strides, dilations = read.window(node, rank)
    if rank == 2 and not read.is_vectorized(data):
        data = data.contiguous(memory_format=torch.channels_last)  # much the faster on a CPU
    run = (torch.conv1d, torch.conv2d, torch.conv3d)[rank - 1]
    if pads[:rank] == pads[rank:]:
        padded, both = data, pads[:rank]
    else:
        padded, both = torch.nn.functional.pad(data, read.torch_pads(pads, rank)), [0] * rank
    return run(
        padded,
        weight,
        *bias,
        stride=strides,
        padding=both,
        dilation=dilations,
        groups=read.integer(node, "group", 1),
    )


def _transposed_convolution(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    functional = read.torch().nn.functional
    data, weight, *bias = inputs
    rank = weight.ndim - 2
    pads, strides, dilations = read.window(node, rank)
    if pads[:rank] != pads[rank:] or "output_shape" in node.attributes:
        raise read.Unsupported("its padding differs between the sides")
    run = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[rank - 1]
    return run(
        data, weight, *bias, stride=strides, padding=pads[:rank], dilation=dilations,
        groups=read.integer(node, "group", 1),
        output_padding=read.integers(node, "output_padding", [0] * rank),
    )  # fmt: skip


def _gemm(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    left = inputs[0].mT if read.integer(node, "transA", 0) else inputs[0]
    right = inputs[1].mT if read.integer(node, "transB", 0) else inputs[1]
    product = read.number(node, "alpha", 1.0) * (left @ right)
    return product + read.number(node, "beta", 1.0) * inputs[2] if len(inputs) > 2 else product


def _max_pool(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    functional = read.torch().nn.functional
    if len(node.outputs) > 1:
        raise read.Unsupported("it also gives indices")
    kernel, pads, strides, dilations = read.pool(node)
    rank = len(kernel)
    padded = functional.pad(inputs[0], read.torch_pads(pads, rank), value=float("-inf"))
    run = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[rank - 1]
    return run(padded, kernel, strides, dilation=dilations)


def _average_pool(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    functional = read.torch().nn.functional
    kernel, pads, strides, dilations = read.pool(node)
    rank = len(kernel)
    if any(d != 1 for d in dilations):
        raise read.Unsupported("it is dilated")
    run = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[rank - 1]
    padded = functional.pad(inputs[0], read.torch_pads(pads, rank))
    found = run(padded, kernel, strides)
    if read.integer(node, "count_include_pad", 0) or not any(pads):
        return found
    ones = functional.pad(read.torch().ones_like(inputs[0]), read.torch_pads(pads, rank))
    return found / run(ones, kernel, strides)


OPERATORS: dict[str, Operator] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
}
