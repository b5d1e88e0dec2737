"""What the file holds beside the weights."""

from __future__ import annotations

import numpy as np

from edgecut.targets.tflite import lir, pack
from edgecut.targets.tflite.lir import Quant


def _sized(channels: int, zeros: list[int]) -> int:
    """Bytes of a file of additions with a constant, each on scales of its own per channel."""
    rng = np.random.default_rng(0)
    x = lir.Tensor((channels,), np.dtype(np.float32))
    out = x
    for zero in zeros:
        scale = rng.uniform(0.1, 1, channels).astype(np.float32)
        grid = Quant(scale, np.full(channels, zero, np.int64))
        data = rng.integers(-128, 128, channels).astype(np.int8)
        constant = lir.Tensor(data.shape, data.dtype, data=data, quant=grid)
        (real,) = lir.emit("DEQUANTIZE", [constant], [(channels,)], [np.dtype(np.float32)], frozenset(), {})
        (out,) = lir.emit("ADD", [out, real], [(channels,)], [np.dtype(np.float32)], frozenset(), {})
    return len(pack.pack([pack.Signature("s", {"x": x}, {"y": out})], {}, {}))


def test_equal_zero_points_are_written_once() -> None:
    channels = 1000
    one, same, other = (_sized(channels, zeros) for zeros in ([0], [0, 0, 0], [0, 1, 2]))
    # Each more constant takes its integers, its scales, and a few hundred bytes of tables.
    assert same - one < 2 * (5 * channels + 600)
    # Zero points of 8 bytes come again only where they are others.
    assert other - same >= 2 * 8 * channels
