"""Values between convolutions over sequences are held as the file computes them, only with another shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgecut.ir import extract
from edgecut.targets.tflite import verify


def sequence(model: Any, bits: int) -> Any:
    """Conv, Relu, Conv over [N, C, L] on integers."""
    random, dtype = np.random.default_rng(0), f"int{bits}"
    nodes: list[Any] = []
    constants: dict[str, Any] = {"zero": np.array(0, dtype), "zw": np.zeros(8, "i1")}

    def rounded(x: str, scale: float) -> str:
        constants[f"{x}_s"] = np.float32(scale / (1 if bits == 8 else 256))
        nodes.append(helper.make_node("QuantizeLinear", [x, f"{x}_s", "zero"], [f"{x}_q"], f"{x}_q"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{x}_q", f"{x}_s", "zero"], [f"{x}_d"], f"{x}_d"))
        return f"{x}_d"

    def conv(x: str, out: str) -> str:
        constants[f"{out}_w"] = random.integers(-127, 128, (8, 8, 3)).astype("i1")
        constants[f"{out}_ws"] = random.uniform(0.002, 0.01, 8).astype("f4")
        names = [f"{out}_w", f"{out}_ws", "zw"]
        nodes.append(helper.make_node("DequantizeLinear", names, [f"{out}_wd"], f"{out}_wd", axis=0))
        nodes.append(helper.make_node("Conv", [x, f"{out}_wd"], [out], out, pads=[1, 1]))
        return out

    a = conv(rounded("x", 0.05), "a")
    nodes.append(helper.make_node("Relu", [a], ["r"], "r"))
    y = rounded(conv(rounded("r", 0.06), "y"), 0.08)
    return model(nodes, {"x": [1, 8, 20]}, [y], constants, opset=21)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_cut_between_convolutions_over_sequences_sends_what_the_integer_kernel_makes(
    tester: Any, model: Any, bits: int
) -> None:
    test = tester(sequence(model, bits))
    edge = extract.ancestors([test.program.value("r_q")])
    test.lower(extract.crossing(test.program, edge))
    assert test.cut.crossing == ("r_q",)
    kinds = test.operators
    assert (kinds["CONV_2D"], kinds["QUANTIZE"], kinds["DEQUANTIZE"], kinds["RELU"]) == (1, 1, 0, 0), kinds
    x = {"x": np.random.default_rng(1).normal(size=(1, 8, 20)).astype("f4")}
    wire, made = test.emitted.wire["r_q"], test.run(x)["r_q"]
    expected = verify._onnxruntime(test.program, ["r_q"], x)["r_q"]
    assert made.dtype == expected.dtype == f"int{bits}"
    steps = np.abs(made.astype(int) - expected.transpose(wire.perm or (0, 1, 2)))
    # One step of 16 bits, where a factor of 15 bits is rounded.
    assert steps.max() <= (0 if bits == 8 else 1)
    assert expected.max() > 50


@pytest.mark.parametrize("after", ["Relu", "Clip"])
def test_an_activation_joins_its_convolution_across_a_reshape(tester: Any, model: Any, after: str) -> None:
    weights = np.random.default_rng(0).normal(size=(6, 8, 3)).astype("f4")
    constants: dict[str, Any] = {"w": weights, "zero": np.float32(0), "six": np.float32(6)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node(after, ["a", "zero", "six"] if after == "Clip" else ["a"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["y"]),
    ]
    test = tester(model(nodes, {"x": [1, 8, 20]}, ["y"], constants)).lower().compare()
    test.count("CONV_2D", 1).count("RELU", 0).count("RELU6", 0)
