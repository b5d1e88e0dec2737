"""Small ONNX models written as text, and ONNX Runtime to run them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

Run = Callable[[onnx.ModelProto, Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a model, given as ONNX text without its header, to a file."""

    def make(body: str, *, opset: int = 17, name: str = "model.onnx", imports: str = "") -> Path:
        header = f'<ir_version: 8, opset_import: ["" : {opset}{imports}]>'
        path = tmp_path / name
        onnx.save(onnx.parser.parse_model(header + body), str(path))
        return path

    return make


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a model in ONNX Runtime, as it is: without its optimizer."""

    def infer(proto: onnx.ModelProto, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feed)), strict=True))

    return infer


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)
