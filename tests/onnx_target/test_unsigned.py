"""Asymmetric int8 activations become uint8 for ONNX Runtime on x86, for the same values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from edgecut.ir import sessions
from edgecut.ir.extract import named_cut, split
from edgecut.ir.program import Program
from edgecut.targets.onnx.unsigned import make_unsigned

Run = Callable[[Path | bytes, dict[str, np.ndarray]], dict[str, np.ndarray]]
Array = np.ndarray
QUANTIZED = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[1,3,8,8] x) => (float[1,8,4,4] y)
<float s = {0.05}, float t = {0.031}, int8 z = {ZERO}, int8 none = {0}, float w_s = {0.02}>
{
  qx = QuantizeLinear(x, s, z)
  dx = DequantizeLinear(qx, s, z)
  dw = DequantizeLinear(w, w_s, none)
  a = Conv<pads=[1,1,1,1]>(dx, dw)
  qa = QuantizeLinear<output_dtype=3>(a, t, z)
  da = DequantizeLinear(qa, t, z)
  dv = DequantizeLinear(v, w_s, none)
  b = Conv<pads=[1,1,1,1]>(da, dv)
  qb = QuantizeLinear(b, t, z)
  db = DequantizeLinear(qb, t, z)
  c = Add(da, db)
  qc = QuantizeLinear(c, s, z)
  dc = DequantizeLinear(qc, s, z)
  m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(dc)
  qm = QuantizeLinear(m, s, z)
  y = DequantizeLinear(qm, s, z)
}"""


def quantized(zero: int) -> Program:
    proto = onnx.parser.parse_model(QUANTIZED.replace("ZERO", str(zero)))
    random = np.random.default_rng(2)
    for name, shape in (("w", (8, 3, 3, 3)), ("v", (8, 8, 3, 3))):
        array = random.integers(-127, 128, shape).astype(np.int8)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return Program.from_proto(onnx.shape_inference.infer_shapes(proto))


def inputs() -> dict[str, Array]:
    return {"x": np.random.default_rng(3).normal(size=(1, 3, 8, 8)).astype(np.float32)}


@pytest.mark.parametrize("zero", [-128, -7, 90])
def test_values_stay_the_same(run: Run, zero: int) -> None:
    program = quantized(zero)
    changed = program.copy()
    make_unsigned(changed)
    onnx.checker.check_model(changed.proto(), full_check=True)
    kinds = {v.data_type for v in changed.proto().graph.initializer if v.name.endswith("zero_point")}
    assert kinds == {TensorProto.UINT8}
    found = []
    for options in (sessions.options(optimize=False, quiet=True), sessions.options(quiet=True)):
        made = [
            ort.InferenceSession(p.bytes(), options, providers=["CPUExecutionProvider"]).run(None, inputs())[
                0
            ]
            for p in (program, changed)
        ]
        found.append(np.abs(made[0] - made[1]))
    np.testing.assert_array_equal(found[0], 0)
    # ONNX Runtime's quantized Add rounds sums at a tie the other way than Add in float: by one step of 0.05.
    assert found[1].max() < 0.0501
    assert (found[1] > 0).mean() < 0.02


def test_onnx_runtime_computes_in_integers(tmp_path: Path) -> None:
    """By the kernels it chooses, on any processor: not one floating-point convolution or addition is left."""
    program = quantized(-7)
    make_unsigned(program)
    options = sessions.options(quiet=True)
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    ort.InferenceSession(program.bytes(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    assert kinds.count("QLinearConv") == 2
    assert "Conv" not in kinds
    assert "Add" not in kinds


def test_symmetric_programs_stay_as_tensorrt_takes_them() -> None:
    program = quantized(0)
    before = program.bytes()
    make_unsigned(program)
    assert program.bytes() == before


@pytest.mark.parametrize("cut", ["qa", "qc"])
def test_integers_that_cross_the_cut_keep_their_type(run: Run, cut: str) -> None:
    program = quantized(-7)
    edge, cloud = split(program, named_cut(program, cut))
    assert edge is not None
    assert cloud is not None
    whole = run(program.bytes(), inputs())
    for half in (edge, cloud):
        make_unsigned(half)
    sent = run(edge.bytes(), inputs())
    assert all(array.dtype == np.int8 for array in sent.values())
    assert any(node.op_type == "QuantizeLinear" for node in cloud.nodes)
    np.testing.assert_array_equal(run(cloud.bytes(), sent)["y"], whole["y"])
