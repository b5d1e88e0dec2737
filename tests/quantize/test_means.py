"""Means and interpolation, quantized: LiteRT and ONNX Runtime give the same integers, ties or not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgecut.ir.program import Program
from edgecut.passes.numerics import Runner
from edgecut.passes.quantize import integers, means

# Each after a convolution (of which a ReLU would hide the negative half), and before another one.
LAYERS = {
    "window": ("m = AveragePool<kernel_shape=[2,2], strides=[2,2]>(a)", {"DEPTHWISE_CONV_2D": 1}),
    "padded": (
        "m = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(a)",
        {"DEPTHWISE_CONV_2D": 1},
    ),
    "fewer at the border": ("m = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)", {"AVERAGE_POOL_2D": 1}),
    "ceil_mode": ("m = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(a)", {}),
    "whole": ("m = AveragePool<kernel_shape=[12,12]>(a)", {"MEAN": 1}),
    "doubled": ('m = Resize<mode="linear">(a, none, twice)', {"RESIZE_BILINEAR": 1, "DEQUANTIZE": 1}),
    "by four": ('m = Resize<mode="linear">(a, none, four)', {"RESIZE_BILINEAR": 1, "DEQUANTIZE": 1}),
    "corners": (
        'm = Resize<mode="linear", coordinate_transformation_mode="align_corners">(a, none, none, corners)',
        {"RESIZE_BILINEAR": 1, "DEQUANTIZE": 1},
    ),
    "by three": ('m = Resize<mode="linear">(a, none, thrice)', {"RESIZE_BILINEAR": 1, "DEQUANTIZE": 2}),
    "upwards": ("m = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(a, wt, bt)", {"TRANSPOSE_CONV": 1}),
    "upwards, limited": (
        "t = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(a, wt, bt)  m = Relu(t)",
        {"TRANSPOSE_CONV": 1, "RELU": 0},
    ),
}


def program_of(build: Callable[..., Program], nodes: str, inputs: str, output: str) -> Program:
    random = np.random.default_rng(1)
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "v": (5, 8, 1, 1), "wt": (8, 8, 4, 4), "bt": (8,)}
    constants = {k: random.standard_normal(shape).astype("f4") for k, shape in shapes.items()}
    constants |= {k: np.array([1, 1, n, n], "f4") for k, n in (("twice", 2), ("four", 4), ("thrice", 3))}
    constants |= {"none": np.zeros(0, "f4"), "corners": np.array([1, 8, 23, 23])}
    return build(
        f"net (float{inputs}) => (float[1,c,h,w] {output}) {{ {nodes} }}",
        **{k: v for k, v in constants.items() if re.search(rf"[ (]{k}[,)]", nodes)},
    )


@pytest.mark.parametrize("name", list(LAYERS))
def test_layer_gives_the_integers_of_onnx_runtime(
    build: Callable[..., Program], on_device: Any, name: str
) -> None:
    layer, kinds = LAYERS[name]
    nodes = f"a = Conv<pads=[1,1,1,1]>(x, w, b)  {layer}  y = Conv(m, v)"
    found = on_device(program_of(build, nodes, "[1,3,12,12] x", "y"))
    found.agree()
    assert {k: found.operators[k] for k in kinds} == kinds


MEANS = [name for name, (layer, _) in LAYERS.items() if "Average" in layer or "Resize" in layer]


@pytest.mark.parametrize("name", MEANS)
def test_results_are_whole_parts_of_a_step(build: Callable[..., Program], name: str) -> None:
    program = program_of(build, LAYERS[name][0], "[1,8,12,12] a", "m")
    (node,) = program.nodes
    count = means.parts(node)
    assert count is not None
    steps = np.random.default_rng(0).integers(-128, 128, (1, 8, 12, 12)).astype("f4")
    results = Runner(program, optimize=False)({"a": steps})["m"].astype("f8") * count
    # Positions of up to 12 elements are held to 1e-6, and multiply differences of up to 255 steps.
    assert np.abs(results - np.rint(results)).max() < 3e-4 * count


@pytest.mark.parametrize("name", ["window", "fewer at the border", "ceil_mode", "whole", "by three"])
def test_a_mean_has_a_scale_that_leaves_no_ties(build: Callable[..., Program], name: str) -> None:
    program = program_of(build, f"a = Conv<pads=[1,1,1,1]>(x, w, b)  {LAYERS[name][0]}", "[1,3,12,12] x", "m")
    samples = [{"x": np.random.default_rng(i).standard_normal((1, 3, 12, 12)).astype("f4")} for i in (0, 1)]
    found = integers.calibrated(program, samples).quantized()
    node = next(n for n in found.nodes if n.op_type in ("AveragePool", "Resize"))
    (quantize,) = [u.node for u in node.outputs[0].uses()]
    before, after = (_scale(n) for n in (node.inputs[0].producer(), quantize))  # type: ignore[union-attr]
    count = means.parts(node)
    assert count is not None
    # A result is n / count steps of the input, n whole, so n M / D of the output's: no half, where D is odd.
    ratio = after * count / before
    denominators = [ratio * 2.0**k for k in range(9)]
    assert any(round(d) % 2 == 1 and abs(d / round(d) - 1) < 1e-6 for d in denominators if d > 64)


def _scale(node: Any) -> float:
    return float(node.inputs[1].const_value.numpy())
