"""Each scheme is a valid graph that ONNX Runtime runs, and nearer to the float model the more bits it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as oir
import pytest

from edgecut.ir import extract
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.numerics import compare
from edgecut.passes.quantize.static import Quantize
from edgecut.targets import tflite

Build = Callable[..., Program]
Save = Callable[..., Path]

# Least dB of the output of `network` that 8 bits of activations or 4 bits of weights leave: about 6 dB a bit.
SCHEMES = {"int8": 27, "int8-symmetric": 24, "int16x8": 36, "int8-weights": 36, "int8-dynamic": 36,
           "int4-weights": 36, "float16": 60}  # fmt: skip


def images(count: int = 32) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def network(build: Build) -> Program:
    rng = np.random.default_rng(0)
    text = """net (float[1,3,8,8] x) => (float[1,5] y)
    { a = Conv<pads=[1,1,1,1]>(x, wa, ba)  r = Relu(a)  b = Conv(r, wb)  s = Sigmoid(b)  m = Mul(s, half)
      c = Add(m, r)  p = GlobalAveragePool(c)  f = Flatten(p)  y = Gemm<transB=1>(f, wg, bg) }"""
    shapes = {"wa": (16, 3, 3, 3), "ba": (16,), "wb": (16, 16, 1, 1), "wg": (5, 16), "bg": (5,)}
    weights = {n: (rng.standard_normal(s) / 3).astype(np.float32) for n, s in shapes.items()}
    weights["half"] = np.full((1, 16, 1, 1), 0.5, np.float32)
    program = build(text, **weights)
    program.graph.opset_imports[""] = 21
    return program


def quantized(program: Program, save: Save, **options: Any) -> Program:
    item = Quantize(calibration=save(x=images()), **options)
    item.check_before(program)
    return item.run(program.copy(), Context())


def kinds(program: Program) -> set[oir.DataType]:
    """Types of everything that is quantized: activations, weights and biases."""
    return {n.inputs[0].dtype for n in program.nodes if n.op_type == "DequantizeLinear"}  # type: ignore[union-attr,misc]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_valid_and_as_near_as_its_bits_allow(network: Program, save: Save, scheme: str) -> None:
    found = quantized(network, save, scheme=scheme)
    onnx.checker.check_model(found.proto(), full_check=True)
    assert found.inputs == network.inputs
    assert found.outputs == network.outputs
    assert compare(network, found, [{"x": x[None]} for x in images(64)]).sqnr_db > SCHEMES[scheme]


@pytest.mark.parametrize("scheme", ["int8", "int8-symmetric", "int16x8", "int8-weights", "float16"])
def test_litert_computes_the_same(network: Program, save: Save, scheme: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    from edgecut.passes.numerics import Difference, Runner

    found = quantized(network, save, scheme=scheme)
    data = tflite.emit(found, [extract.named_cut(found, "edge-only")]).data
    lite, reference = Interpreter(model_content=data).get_signature_runner(), Runner(found)
    difference = Difference()
    for x in images(16):
        difference.add(reference({"x": x[None]}), {"y": lite(x=x[None])["y"]})
    # The same integers but for ties and for sums in another order: far less than the rounding itself.
    assert difference.sqnr_db > SCHEMES[scheme] + 3


def test_types(network: Program, save: Save) -> None:
    types = oir.DataType
    assert kinds(quantized(network, save)) == {types.INT8, types.INT32}
    assert kinds(quantized(network, save, scheme="int16x8")) == {types.INT16, types.INT8, types.INT32}
    # Large enough are the weights of the convolutions.
    assert kinds(quantized(network, save, scheme="int4-weights")) == {types.INT8}


@pytest.mark.parametrize("scheme", ["int8-symmetric", "int16x8"])
def test_symmetric_zero_points_are_zero(network: Program, save: Save, scheme: str) -> None:
    found = quantized(network, save, scheme=scheme)
    nodes = [
        n for n in found.nodes if n.op_type in ("QuantizeLinear", "DequantizeLinear") and len(n.inputs) > 2
    ]
    zeros = [n.inputs[2].const_value.numpy() for n in nodes]  # type: ignore[union-attr]
    assert len(zeros) > 10
    assert not any(z.any() for z in zeros)


def test_weights_of_four_bits_take_half_a_byte(build: Build, save: Save) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    program = build("net (float[1,64] x) => (float[1,64] y) { y = MatMul(x, w) }", w=weight)
    program.graph.opset_imports[""] = 21
    found = Quantize(scheme="int4-weights").run(program, Context())
    # 64 scales and zero points besides.
    assert found.weight_bytes() == 64 * 64 // 2 + 64 * 4 + 32


def test_four_bits_are_for_matrices(build: Build) -> None:
    weights = {"c": np.ones((16, 16, 3, 3), "f4"), "t": np.ones((16, 16, 3, 3), "f4")}
    program = build(
        """net (float[1,16,8,8] x) => (float[1,16,8,32] y)
        { a = Conv<pads=[1,1,1,1]>(x, c)  b = ConvTranspose<pads=[1,1,1,1]>(a, t)  y = MatMul(b, m) }""",
        **weights, m=np.ones((8, 32), "f4"),
    )  # fmt: skip
    program.graph.opset_imports[""] = 21
    found = Quantize(scheme="int4-weights").run(program, Context())
    stored = [n.inputs[0] for n in found.nodes if n.op_type == "DequantizeLinear"]
    types = {v.name[0]: v.dtype for v in stored if v is not None and v.name is not None}
    assert types == {"c": oir.DataType.INT8, "t": oir.DataType.INT8, "m": oir.DataType.INT4}


def test_old_operator_sets_lack_some(build: Build, save: Save) -> None:
    weight = np.ones((4, 4), np.float32)
    program = build("net (float[1,4] x) => (float[1,4] y) { y = MatMul(x, w) }", w=weight)
    with pytest.raises(ModelError, match="int4-weights needs opset 21"):
        Quantize(scheme="int4-weights").check_before(program)
