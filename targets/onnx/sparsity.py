"""2:4 structured sparsity as TensorRT uses it: which weights can have it, and whether they do.

For each output channel and each position in a convolution's kernel, two at least of every four consecutive
input channels are zero, and the number of input channels is a multiple of four; the same along K of a fully
connected layer (NVIDIA, TensorRT Developer Guide, "Structured Sparsity"). There is no smaller size that it
refuses, but it takes a sparse kernel only where it times as faster: from some 256 channels on, by NVIDIA's
own experience (https://github.com/NVIDIA/TensorRT/issues/3849).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

FOUR, LEFT = 4, 2
"""Of so many consecutive weights, so many may be other than zero."""


def weight(node: oir.Node) -> oir.Value | None:
    """The constant weight of a node that sparse kernels can read, before its dequantization if it has one."""
    if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.inputs) < 2 or node.inputs[1] is None:
        return None
    value = node.inputs[1]
    maker = value.producer()
    if maker is not None and maker.op_type == "DequantizeLinear" and maker.inputs[0] is not None:
        value = maker.inputs[0]
    if value.const_value is None or (node.op_type == "Conv" and _integer(node, "group", 1) != 1):
        return None
    sizes = value.const_value.shape.numpy()
    fits = len(sizes) > 2 if node.op_type == "Conv" else len(sizes) == 2
    return value if fits and sizes[axis(node)] % FOUR == 0 else None


def axis(node: oir.Node) -> int:
    """The axis of a weight along which four are consecutive: its input channels."""
    if node.op_type == "Conv":
        return 1
    return 1 if node.op_type == "Gemm" and _integer(node, "transB", 0) else 0


def fours(array: NDArray[Any], along: int) -> NDArray[Any]:
    """A weight as [..., channels / 4, 4]."""
    moved = np.moveaxis(array, along, -1)
    return moved.reshape(*moved.shape[:-1], -1, FOUR)


def holds(array: NDArray[Any], along: int) -> bool:
    """Whether a weight has the pattern."""
    return bool(np.all(np.count_nonzero(fours(array, along), axis=-1) <= LEFT))


def has_sparse_weights(graph: oir.Graph) -> bool:
    """Whether a model has any weight with the pattern, so that sparse kernels are worth trying."""
    found = ((node, weight(node)) for node in graph.all_nodes())
    return any(v is not None and holds(v.const_value.numpy(), axis(n)) for n, v in found)  # type: ignore[union-attr]


def _integer(node: oir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default
