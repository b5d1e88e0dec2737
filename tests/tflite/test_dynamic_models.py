"""Models that ONNX Runtime quantized dynamically: scales that follow from the data, integers between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

RANDOM = np.random.default_rng(0)
Quantized = Callable[..., onnx.ModelProto]


@pytest.fixture
def quantized(tmp_path: Path) -> Quantized:
    """A model as ``quantize_dynamic`` writes it."""

    def make(proto: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
        from onnxruntime.quantization import quantize_dynamic

        onnx.save(proto, tmp_path / "float.onnx")
        quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", **options)
        return onnx.load(str(tmp_path / "int8.onnx"))

    return make


@pytest.fixture
def perceptron(model: Any) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "v"], ["y"]),
    ]
    shapes = {"w": (768, 600), "b": (600,), "v": (600, 12)}
    constants = {name: RANDOM.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    return model(nodes, {"x": [2, 5, 768]}, ["y"], constants)  # type: ignore[no-any-return]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_matrix_products(
    tester: Any, perceptron: onnx.ModelProto, quantized: Quantized, per_channel: bool, signed: bool
) -> None:
    from onnxruntime.quantization import QuantType

    kind = QuantType.QInt8 if signed else QuantType.QUInt8
    made = quantized(perceptron, per_channel=per_channel, weight_type=kind)
    test = tester(made).lower().count("FULLY_CONNECTED", 2).compare()
    weights = 768 * 600 + 600 * 12
    assert len(test.emitted.data) < 1.1 * weights + 8192, "a byte for each weight"


def test_sums_that_float32_does_not_hold_are_added_as_integers(
    tester: Any, model: Any, quantized: Quantized
) -> None:
    # Not rounded: sums reach 255 * 127 * 3000, six times what float32 holds of whole numbers.
    x = RANDOM.uniform(0.9, 1, (1, 3000)).astype("f4")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    made = quantized(model(nodes, {"x": [1, 3000]}, ["y"], {"w": np.ones((3000, 4), "f4")}))
    product = next(n for n in made.graph.node if n.op_type == "MatMulInteger")
    made.graph.output.append(helper.make_tensor_value_info(product.output[0], onnx.TensorProto.INT32, [1, 4]))
    test = tester(made).lower().compare({"x": x})
    assert test.operators["FULLY_CONNECTED"] > 5


def test_convolutions(tester: Any, model: Any, quantized: Quantized) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "v"], ["y"], strides=[2, 2]),
    ]
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "v": (5, 8, 3, 3)}
    constants = {name: RANDOM.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    tester(quantized(model(nodes, {"x": [1, 3, 12, 12]}, ["y"], constants))).lower().compare()
