"""Small graphs that profilers are tried on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecut.ir.program import Program

Make = Callable[..., Program]


@pytest.fixture(scope="session")
def make() -> Make:
    """A program from nodes, inputs, outputs and weights, its shapes inferred."""

    def build(
        nodes: list[onnx.NodeProto],
        inputs: dict[str, tuple[int, ...]],
        outputs: list[str],
        weights: dict[str, np.ndarray] | None = None,
    ) -> Program:
        given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
        wanted = [helper.make_empty_tensor_value_info(n) for n in outputs]
        held = [numpy_helper.from_array(w, n) for n, w in (weights or {}).items()]
        graph = helper.make_graph(nodes, "small", given, wanted, held)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        return Program.from_proto(onnx.shape_inference.infer_shapes(model, strict_mode=True))

    return build


@pytest.fixture(scope="session")
def convnet(make: Make) -> Program:
    """conv(3x3, stride 2) - relu - depthwise(3x3) - pointwise - add of both - mean - dense."""
    random = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32) * 0.1

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "depthwise", group=16, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c2", "w3"], ["c3"], "pointwise"),
        helper.make_node("Add", ["r1", "c3"], ["a1"], "add"),
        helper.make_node("GlobalAveragePool", ["a1"], ["m1"], "mean"),
        helper.make_node("Flatten", ["m1"], ["f1"], "flatten"),
        helper.make_node("Gemm", ["f1", "w4", "b4"], ["y"], "dense"),
    ]
    weights = {
        "w1": weight(16, 3, 3, 3),
        "b1": weight(16),
        "w2": weight(16, 1, 3, 3),
        "w3": weight(16, 16, 1, 1),
        "w4": weight(16, 10),
        "b4": weight(10),
    }
    return make(nodes, {"x": (1, 3, 32, 32)}, ["y"], weights)
