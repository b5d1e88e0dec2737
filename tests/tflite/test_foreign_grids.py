"""QDQ graphs of other tools, whose scales break the rules of TFLite: still integer kernels, still exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgecut.passes.numerics import Runner
from edgecut.targets.tflite import verify

RANDOM = np.random.default_rng(0)


def quantized(graph: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """By ONNX Runtime's own tool, which gives every tensor a scale of its own."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    samples = iter([{"x": RANDOM.normal(size=(1, 4, 8, 8)).astype("f4")} for _ in range(4)])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(samples, None)

    onnx.save(graph, folder / "float.onnx")
    kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    quantize_static(folder / "float.onnx", folder / "int8.onnx", Reader(), quant_format=QuantFormat.QDQ,
                    per_channel=True, extra_options={"ActivationSymmetric": False}, **kinds)  # fmt: skip
    return onnx.load(folder / "int8.onnx")


def convolution(name: str, channels: int) -> tuple[Any, dict[str, Any]]:
    """From ``x`` to a value of this name, with a scale of its own."""
    weights = RANDOM.normal(size=(channels, 4, 3, 3)).astype("f4") / channels
    node = helper.make_node(
        "Conv", ["x", f"{name}_w", f"{name}_b"], [name], name=f"{name}_conv", pads=[1] * 4
    )
    return node, {f"{name}_w": weights, f"{name}_b": RANDOM.normal(size=channels).astype("f4")}


# Nodes after two convolutions a and b, and how often floats may come and go: once is for the output alone.
CASES: dict[str, tuple[list[Any], int]] = {
    "concatenation of two scales": ([helper.make_node("Concat", ["a", "b"], ["y"], axis=1)], 1),
    "pool": ([helper.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
              helper.make_node("Relu", ["p"], ["y"])], 1),
    "reshape and transpose": ([helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 3, 1]),
                               helper.make_node("Reshape", ["t", "shape"], ["y"])], 1),
    "sigmoid on another grid": ([helper.make_node("Sigmoid", ["a"], ["y"])], 2),
    "softmax": ([helper.make_node("Softmax", ["a"], ["y"], axis=1)], 2),
    "sum": ([helper.make_node("Concat", ["b", "b"], ["c"], axis=1),
             helper.make_node("Add", ["a", "c"], ["y"])], 1),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_scales_that_break_the_rules(tester: Any, model: Any, tmp_path: Path, case: str) -> None:
    nodes, floats = CASES[case]
    (one, weights), (other, more) = convolution("a", 6), convolution("b", 3)
    used = {i for n in nodes for i in n.input}
    constants = {"shape": np.array([1, -1])} if "shape" in used else {}
    convolutions = [(one, weights), *([(other, more)] if "b" in used else [])]
    constants |= {k: v for _, held in convolutions for k, v in held.items()}
    graph = model([*(n for n, _ in convolutions), *nodes], {"x": [1, 4, 8, 8]}, ["y"], constants)
    test = tester(quantized(graph, tmp_path)).lower()
    assert test.operators["DEQUANTIZE"] <= floats, dict(test.operators)
    assert test.operators["QUANTIZE"] <= floats, dict(test.operators)
    inputs = verify.noise(test.program)
    (made,), (expected,) = test.run(inputs).values(), Runner(test.program, optimize=False)(inputs).values()
    step = np.diff(np.unique(expected)).min()
    # Two layers: a value at a tie may be one step off, and none other.
    assert np.abs(made - expected).max() <= 1.01 * step
    assert (np.abs(made - expected) > step / 2).mean() <= 0.01


@pytest.mark.parametrize("value", [-1.0, 0.05, 30.0])
def test_padding_with_a_number_that_the_grid_of_the_padded_does_not_have(
    tester: Any, model: Any, value: float
) -> None:
    grid, other = {"s": np.float32(0.005), "z": np.int8(-76)}, {"t": np.float32(0.13), "u": np.int8(5)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Pad", ["d", "pads", "v"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "t", "u"], ["r"]),
        helper.make_node("DequantizeLinear", ["r", "t", "u"], ["y"]),
    ]
    more = {"pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]), "v": np.float32(value)}
    test = tester(model(nodes, {"x": [1, 3, 4, 5]}, ["y"], grid | other | more)).lower().compare()
    assert test.operators["DEQUANTIZE"] == 1, "on integers all the way"
