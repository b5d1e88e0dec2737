"""Statistics of a crossing value on calibration data: all that its transforms are made of."""

from typing import Any

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir import transform
from edgecut.ir.annotations import Coding
from edgecut.ir.coded import quantizer
from edgecut.ir.program import Program

Floats = NDArray[np.float32]

MAX_CHANNELS = 512
"""More are not decorrelated: the matrix would be larger than what it saves."""
SEEN = 4
"""Vectors that have to be seen for each channel before channels are decorrelated."""


def of_value(samples: Floats, channel: int) -> Coding:
    """Statistics of a value.

    Args:
        samples: float32, ``[samples, ...]``: the value without its batch axis.
        channel: Axis of the channels in the value.
    """
    vectors = np.moveaxis(samples, channel, -1).reshape(-1, samples.shape[channel])
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean.astype(np.float32)
    deviation = float(np.sqrt(np.mean(centred.astype(np.float64) ** 2)))
    return Coding(
        channel=channel,
        deviation=max(deviation, 1e-9),
        mean=transform.pack(mean),
        least=transform.pack(vectors.min(axis=0)),
        greatest=transform.pack(vectors.max(axis=0)),
        basis=_basis(centred),
    )


def _basis(centred: Floats) -> str:
    seen, channels = centred.shape
    if channels < 2 or channels > MAX_CHANNELS or seen < SEEN * channels:
        return ""
    return transform.pack(principal(centred))


def principal(centred: NDArray[Any]) -> NDArray[np.float64]:
    """Orthonormal rows along which channels are not correlated, those of most variance first.

    Args:
        centred: ``[seen, channels]`` without their means.
    """
    wide = centred.astype(np.float64)
    _, vectors = np.linalg.eigh(wide.T @ wide / len(wide))
    rows = vectors.T[::-1]
    # Of either sign a vector will do: the one is taken whose largest element is positive.
    largest = np.abs(rows).argmax(axis=1)
    return np.asarray(rows * np.sign(rows[np.arange(len(rows)), largest])[:, None], np.float64)


_CHANNELS_FIRST = frozenset({
    "Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "MaxPool", "AveragePool",
    "GlobalAveragePool", "GlobalMaxPool", "DepthToSpace", "SpaceToDepth", "Resize",
})  # fmt: skip
_CHANNELS_LAST = frozenset({"MatMul", "Gemm", "LayerNormalization", "LSTM", "GRU", "RNN", "Attention"})


def channel_axis(program: Program, name: str) -> int:
    """Axis of the channels of a value, by the nearest operator that has an opinion of it."""
    value = program.value(name)
    rank = len(value.shape) if value.shape is not None else 0
    if rank < 3:
        return max(rank - 1, 0)
    seen: set[oir.Value] = {value}
    front = [value]
    for _ in range(8):
        for item in front:
            found = [axis for axis in _opinions(item, rank) if axis is not None]
            if found:
                return found[0]
        front = [v for item in front for v in _around(item, rank) if v not in seen]
        seen.update(front)
    return 1 if rank == 4 else rank - 1


def _opinions(value: oir.Value, rank: int) -> list[int | None]:
    readers = [use.node for use in value.uses() if use.idx == 0]
    producer = value.producer()
    found = [_opinion(node, rank, before=True) for node in readers]
    return found if producer is None else [_opinion(producer, rank, before=False), *found]


def _opinion(node: oir.Node, rank: int, *, before: bool) -> int | None:
    """Axis of the channels before or behind an operator, if it tells."""
    if node.op_type in _CHANNELS_FIRST:
        return 1
    if node.op_type in _CHANNELS_LAST:
        return rank - 1
    if node.op_type != "Transpose" or "perm" not in node.attributes:
        return None
    perm = list(node.attributes["perm"].as_ints())
    if rank == 4 and perm in ([0, 3, 1, 2], [0, 2, 3, 1]):
        first = perm == [0, 3, 1, 2]
        return (3 if first else 1) if before else (1 if first else 3)
    return None


def _around(value: oir.Value, rank: int) -> list[oir.Value]:
    """Values of the same rank that are next to this one, across operators that keep the axes."""
    nodes = [value.producer(), *(use.node for use in value.uses())]
    kept = [n for n in nodes if n is not None and n.op_type not in ("Transpose", "Reshape", "Flatten")]
    near = [v for n in kept for v in (*n.inputs, *n.outputs) if v is not None and v.const_value is None]
    return [v for v in near if v.shape is not None and len(v.shape) == rank][:16]


def scale_of(program: Program, name: str) -> tuple[float, int] | None:
    """Scale and zero point of a quantized value, per tensor; None where it is float or has others."""
    node = quantizer(program.value(name))
    if node is None:
        return None
    arrays = [None if v is None or v.const_value is None else v.const_value.numpy() for v in node.inputs[1:]]
    if arrays[0] is None or arrays[0].size != 1:
        return None
    zero = 0 if len(arrays) < 2 or arrays[1] is None else int(arrays[1].reshape(-1)[0])
    return float(arrays[0].reshape(-1)[0]), zero
