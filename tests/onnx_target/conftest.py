"""A small residual network, and runs of whole programs and of models on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecut.ir import annotations as notes
from edgecut.ir.annotations import Source
from edgecut.ir.program import Program

Run = Callable[[Path | bytes, dict[str, np.ndarray]], dict[str, np.ndarray]]


@pytest.fixture
def run() -> Run:
    def run_model(model: Path | bytes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        source = model if isinstance(model, bytes) else str(model)
        session = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run_model


@pytest.fixture
def program() -> Program:
    """conv1 -> relu -> conv2 -> add(relu) -> pool -> transpose to NHWC -> matmul; two outputs."""
    random = np.random.default_rng(1)

    def weight(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["r1", "c2"], ["sum"]),
        helper.make_node("MaxPool", ["sum"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Transpose", ["pool"], ["nhwc"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["nhwc", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w3"], ["scores"]),
        helper.make_node("ReduceMean", ["r1"], ["mean"], axes=[2, 3], keepdims=0),
    ]
    weights = [weight("w1", 16, 3, 3, 3), weight("w2", 16, 16, 3, 3), weight("w3", 16 * 16, 10)]
    weights.append(numpy_helper.from_array(np.array([1, 256], np.int64), "flat_shape"))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10]),
            helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 16]),
        ],
        weights,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    found = Program.from_proto(onnx.shape_inference.infer_shapes(proto))
    notes.put(found.model, Source("My Net.onnx", "0" * 64, "onnx"))
    return found
