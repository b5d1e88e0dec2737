"""How much each channel matters, by its weights alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.passes.prune.dims import Channel, ChannelGroup
from edgecut.passes.prune.rules import integer

Floats = NDArray[np.float64]


def magnitudes(group: ChannelGroup, norm: int) -> Floats:
    """Score of each channel: the norm of the weights that make it, each tensor counting equally.

    Args:
        group: ``n`` channels.
        norm: 1 or 2.
    """
    total = np.zeros(len(group.channels))
    for value, axis in group.axes:
        if value.const_value is None or not _makes(value, axis):
            continue
        sizes = _slices(value, axis, norm)
        own = _per_channel(group.channels, (value, axis), sizes)
        total += own / max(own.mean(), 1e-30)
    return total


def reads(node: oir.Node) -> bool:
    """Whether a node mixes the channels of its first input by weights."""
    mixes = node.op_type in ("Gemm", "MatMul") or (node.op_type == "Conv" and integer(node, "group", 1) == 1)
    return (
        mixes
        and len(node.inputs) > 1
        and node.inputs[1] is not None
        and node.inputs[1].const_value is not None
    )


def input_axis(node: oir.Node) -> int:
    """The axis of a weight that counts what the node reads."""
    if node.op_type == "Conv":
        return 1
    return 1 if node.op_type == "Gemm" and integer(node, "transB", 0) else 0


def _makes(value: oir.Value, axis: int) -> bool:
    """Whether an axis of a weight counts what it makes, not what it reads."""
    return len(value.const_value.shape) > 1 and any(_made_axis(n) == axis for n, i in value.uses() if i == 1)  # type: ignore[union-attr]


def _made_axis(node: oir.Node) -> int | None:
    if node.op_type == "Conv":
        return 0
    return 1 - input_axis(node) if node.op_type in ("Gemm", "MatMul") else None


def _slices(value: oir.Value, axis: int, norm: int) -> Floats:
    """Sum of absolute values or squares of each slice along an axis."""
    assert value.const_value is not None
    array = np.abs(np.asarray(value.const_value.numpy(), np.float64)) ** norm
    return np.asarray(array.sum(axis=tuple(i for i in range(array.ndim) if i != axis)))


def _per_channel(channels: Sequence[Channel], axis: tuple[oir.Value, int], sizes: Floats) -> Floats:
    places = [dict(channel.places)[axis] for channel in channels]
    return np.asarray([sizes[list(positions)].sum() for positions in places])
