"""Small networks as a frontend would give them, and data for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgecut.ir.program import Program

Build = Callable[..., Program]
Save = Callable[..., Path]


@pytest.fixture
def build() -> Build:
    """Makes a program from the text of a graph and its weights; shapes are inferred."""

    def make(text: str, **weights: np.ndarray) -> Program:
        model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 17]>\n{text}')
        model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in weights.items())
        for name, array in weights.items():
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            model.graph.value_info.append(helper.make_tensor_value_info(name, kind, array.shape))
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        return Program.from_proto(inferred)

    return make


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes calibration data as a ``.npz``."""

    def write(**arrays: np.ndarray) -> Path:
        path = tmp_path / "data.npz"
        np.savez(path, allow_pickle=False, **arrays)
        return path

    return write
