"""How much each channel matters: by its weights, or by what its numbers do to those that read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir.program import Program
from edgecut.passes.numerics import Runner, Sample
from edgecut.passes.prune.dims import Channel, ChannelGroup
from edgecut.passes.prune.rules import integer

Floats = NDArray[np.float64]
Energies = Mapping[oir.Value, Floats]


def by_magnitude(group: ChannelGroup, norm: int) -> Floats:
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


def by_effect(group: ChannelGroup, energies: Energies) -> Floats:
    """Score of each channel: the power that it gives to the results of those that read it.

    Args:
        group: ``n`` channels.
        energies: Mean square of every channel of the inputs of nodes with weights.
    """
    total = np.zeros(len(group.channels))
    for axis in group.axes:
        value, position = axis
        if value not in energies or position != _channel_axis(value, energies):
            continue
        for node, index in value.uses():
            weight = node.inputs[1] if index == 0 and len(node.inputs) > 1 else None
            if weight is None or weight.const_value is None or not _reads(node):
                continue
            power = energies[value] * _slices(weight, _input_axis(node), 2)
            own = _per_channel(group.channels, axis, power)
            total += own / max(power.sum(), 1e-30)
    return total


def energies(program: Program, samples: Iterable[Sample]) -> dict[oir.Value, Floats]:
    """Mean square of every channel of what nodes with weights read, over all samples and pixels."""
    read = {n.inputs[0]: n for n in program.nodes if _reads(n)}
    inputs = {spec.name for spec in program.inputs}
    names = [v.name or "" for v in read if v is not None]
    runner = Runner(program, [n for n in names if n not in inputs])
    sums: dict[str, Floats] = {}
    count = 0
    for sample in samples:
        results, count = {**sample, **runner(sample)}, count + 1
        for value, node in read.items():
            name = value.name or "" if value is not None else ""
            array = results[name].astype(np.float64)
            axis = 1 if node.op_type == "Conv" else array.ndim - 1
            others = tuple(i for i in range(array.ndim) if i != axis)
            sums[name] = sums.get(name, 0.0) + np.mean(array * array, axis=others)
    return {v: sums[v.name or ""] / count for v in read if v is not None}


def _reads(node: oir.Node) -> bool:
    """Whether a node mixes the channels of its first input by weights."""
    mixes = node.op_type in ("Gemm", "MatMul") or (node.op_type == "Conv" and integer(node, "group", 1) == 1)
    return (
        mixes
        and len(node.inputs) > 1
        and node.inputs[1] is not None
        and node.inputs[1].const_value is not None
    )


def _input_axis(node: oir.Node) -> int:
    if node.op_type == "Conv":
        return 1
    return 1 if node.op_type == "Gemm" and integer(node, "transB", 0) else 0


def _channel_axis(value: oir.Value, energies: Energies) -> int:
    node = next(n for n, i in value.uses() if i == 0 and _reads(n))
    rank = len(value.shape) if value.shape is not None else 0
    return 1 if node.op_type == "Conv" else rank - 1


def _makes(value: oir.Value, axis: int) -> bool:
    """Whether an axis of a weight counts what it makes, not what it reads."""
    return len(value.const_value.shape) > 1 and any(_made_axis(n) == axis for n, i in value.uses() if i == 1)  # type: ignore[union-attr]


def _made_axis(node: oir.Node) -> int | None:
    if node.op_type == "Conv":
        return 0
    return 1 - _input_axis(node) if node.op_type in ("Gemm", "MatMul") else None


def _slices(value: oir.Value, axis: int, norm: int) -> Floats:
    """Sum of absolute values or squares of each slice along an axis."""
    assert value.const_value is not None
    array = np.abs(np.asarray(value.const_value.numpy(), np.float64)) ** norm
    return np.asarray(array.sum(axis=tuple(i for i in range(array.ndim) if i != axis)))


def _per_channel(channels: Sequence[Channel], axis: tuple[oir.Value, int], sizes: Floats) -> Floats:
    places = [dict(channel.places)[axis] for channel in channels]
    return np.asarray([sizes[list(positions)].sum() for positions in places])
