"""Programs from ONNX text, and what they compute."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgecut.ir.program import Program

Feed = Mapping[str, NDArray[Any]]
Run = Callable[[Program, Feed], dict[str, NDArray[Any]]]
Parse = Callable[..., Program]


@pytest.fixture(scope="session")
def parse() -> Parse:
    """A program from ONNX text without its header, with further initializers."""

    def make(body: str, *, opset: int = 21, **weights: Any) -> Program:
        proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>{body}')
        tensors = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
        proto.graph.initializer.extend(tensors)
        return Program.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True))

    return make


@pytest.fixture(scope="session")
def run() -> Run:
    """What a program computes in ONNX Runtime without its optimizer, by output name."""

    def infer(program: Program, feed: Feed) -> dict[str, NDArray[Any]]:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(program.bytes(), options, providers=["CPUExecutionProvider"])
        names = [spec.name for spec in program.outputs]
        return dict(zip(names, session.run(names, dict(feed)), strict=True))

    return infer


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)
