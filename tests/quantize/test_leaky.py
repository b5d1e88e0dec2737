"""LeakyRelu in int8: the slope that the kernel has, and the integers of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgecut.ir.program import Program

DEPTH = 5


def network(build: Callable[..., Program], slope: float) -> Program:
    """Convolutions with leaky activations, every second one added to the one before."""
    random = np.random.default_rng(0)
    text, x, weights = "", "x", {}
    for i in range(DEPTH):
        channels = 3 if i == 0 else 8
        weights[f"w{i}"] = (random.standard_normal((8, channels, 3, 3)) / np.sqrt(4 * channels)).astype("f4")
        weights[f"b{i}"] = random.standard_normal(8).astype("f4")
        text += f"c{i} = Conv<pads=[1,1,1,1]>({x}, w{i}, b{i})  l{i} = LeakyRelu<alpha={slope}>(c{i})  "
        text += f"r{i} = Add(l{i}, l{i - 1})  " if i % 2 else ""
        x = f"r{i}" if i % 2 else f"l{i}"
    text += f"y = MaxPool<kernel_shape=[2,2], strides=[2,2]>({x})"
    return build(f"net (float[1,3,16,16] x) => (float[1,8,8,8] y) {{ {text} }}", **weights)


@pytest.mark.parametrize("slope", [0.01, 0.1, 0.2, 0.3])
def test_leaky_layers_give_the_integers_of_onnx_runtime(
    build: Callable[..., Program], on_device: Any, slope: float
) -> None:
    found = on_device(network(build, slope))
    found.agree()
    assert found.operators["LEAKY_RELU"] == DEPTH
    assert (found.operators["QUANTIZE"], found.operators["DEQUANTIZE"]) == (1, 1)
    slopes = [n.attributes["alpha"].as_float() for n in found.program.nodes if n.op_type == "LeakyRelu"]
    # As far as 255 steps are not moved by half of one.
    assert all(abs(s - slope) < 0.5 / 255 for s in slopes)
    if slope != 0.01:  # a whole number of 256ths is near
        assert slopes == pytest.approx([slope] * DEPTH, rel=1e-6)
