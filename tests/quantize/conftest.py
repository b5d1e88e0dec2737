"""Small networks as a frontend would give them, and data for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgecut.ir.extract import named_cut
from edgecut.ir.program import Program
from edgecut.passes.numerics import Runner
from edgecut.passes.quantize import integers
from edgecut.targets import tflite
from edgecut.targets.tflite import inspect

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
def residual(build: Build) -> Program:
    """Every kind of operator that shares a grid or fuses: padding, pooling, addition, concatenation."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        fan = int(np.prod(shape[1:]))
        return np.asarray(rng.standard_normal(shape) * np.sqrt(2 / fan), np.float32)

    text = """
    net (float[1,3,16,16] image) => (float[1,10] scores)
    {
        a = Conv<pads=[1,1,1,1]>(image, wa, ba)
        ra = Relu(a)
        b = Conv<pads=[1,1,1,1], group=8>(ra, wb, bb)
        rb = Clip(b, zero, six)
        s = Add(rb, ra)
        p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(s)
        c = Conv(p, wc)
        cat = Concat<axis=1>(p, c)
        m = GlobalAveragePool(cat)
        flat = Flatten(m)
        scores = Gemm<transB=1>(flat, wg, bg)
    }"""
    return build(
        text, wa=weight(8, 3, 3, 3), ba=weight(8), wb=weight(8, 1, 3, 3), bb=weight(8), wc=weight(4, 8, 1, 1),
        wg=weight(10, 12), bg=weight(10), zero=np.float32(0), six=np.float32(6),
    )  # fmt: skip


@dataclass(frozen=True)
class OnDevice:
    """A program in int8, and its only output in LiteRT and in ONNX Runtime, for a sample it has not seen."""

    program: Program
    made: NDArray[Any]
    expected: NDArray[Any]
    operators: Counter[str]

    def agree(self) -> None:
        np.testing.assert_array_equal(self.made, self.expected)
        assert len(np.unique(self.expected)) >= 5, "the test shows nothing: the output is saturated"


@pytest.fixture
def on_device() -> Callable[[Program], OnDevice]:
    """Quantizes a program of one input with normal noise, and runs it on both sides."""

    def run(program: Program) -> OnDevice:
        from ai_edge_litert.interpreter import Interpreter

        random, (spec,) = np.random.default_rng(2), program.inputs
        shape = [int(n) for n in spec.shape if n is not None]
        samples = [{spec.name: random.standard_normal(shape).astype("f4")} for _ in range(5)]
        found = integers.calibrated(program, samples[:-1]).quantized()
        data = tflite.emit(found, [named_cut(found, "edge-only")]).data
        made = Interpreter(model_content=data, num_threads=1).get_signature_runner("cut0")(**samples[-1])
        (name,) = made
        expected = Runner(found, optimize=False)(samples[-1])[name]
        return OnDevice(found, made[name], expected, inspect.operators(data))

    return run


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes calibration data as a ``.npz``."""

    def write(**arrays: np.ndarray) -> Path:
        path = tmp_path / "data.npz"
        np.savez(path, allow_pickle=False, **arrays)
        return path

    return write
