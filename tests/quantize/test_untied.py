"""Scales with which no result of an integer kernel lies between two integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from edgecut.ir import extract
from edgecut.ir.program import Program
from edgecut.passes.numerics import Runner
from edgecut.passes.quantize import integers, untied
from edgecut.passes.quantize.grid import Grid
from edgecut.targets import tflite

SCALES = st.floats(1e-6, 10)


@given(st.lists(st.floats(0.25, 4), min_size=1, max_size=5), SCALES, st.floats(2.0**-10, 2.0**12))
def test_an_accumulator_counts_an_odd_fraction_of_the_output_step(
    scales: list[float], step: float, ratio: float
) -> None:
    given_, out = np.array(scales, np.float32), step * ratio
    found = untied.weight_scales(given_, step, out)
    # step * scale / out = M / D with M a power of two and D odd. A float32 scale is that to 24 bits.
    for before, after in zip(given_.astype(float), found.astype(float), strict=True):
        power = 2.0 ** max(np.ceil(np.log2(128 * step * before / out)), 0)
        denominator = power * out / (step * after)
        assert denominator == pytest.approx(round(denominator), rel=1e-6)
        assert round(denominator) % 2 == 1
        assert 1 - 1e-6 <= after / before < 1.02


@given(st.lists(st.floats(1e-3, 4), min_size=1, max_size=5), SCALES, st.floats(2.0**-8, 2.0**8))
def test_a_factor_of_a_wide_kernel_has_fifteen_bits(scales: list[float], step: float, ratio: float) -> None:
    given_, out = np.array(scales, np.float32), step * ratio
    found = untied.short_scales(given_, step, out)
    for before, after in zip(given_.astype(float), found.astype(float), strict=True):
        mantissa, _ = np.frexp(step * after / out)
        # A float32 scale is that to 24 bits.
        assert mantissa * 2**15 == pytest.approx(round(mantissa * 2**15), rel=1e-6)
        assert round(mantissa * 2**15) % 2 == 1
        assert 1 - 1e-6 <= after / before <= 1 + 2.0**-13 + 1e-6


def test_a_depthwise_layer_of_16_bits_gives_the_integers_of_onnx_runtime(
    build: Callable[..., Program],
) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((16, 1, 3, 3)).astype("f4")
    program = build(
        "net (float[1,16,24,24] x) => (float[1,16,22,22] y) { y = Conv<group=16>(x, w) }", w=weight
    )
    program.graph.opset_imports[""] = 21
    samples = [{"x": random.standard_normal((1, 16, 24, 24)).astype("f4")} for _ in range(4)]
    found = integers.calibrated(program, samples, scheme="int16x8").quantized()
    data = tflite.emit(found, [extract.named_cut(found, "edge-only")]).data
    made = Interpreter(model_content=data).get_signature_runner("cut0")(**samples[0])["y"]
    differs = made != Runner(found, optimize=False)(samples[0])["y"]
    # ONNX Runtime adds in float32, to 24 bits of which 16 are kept: some in a thousand round otherwise.
    # With factors that are no 15 bits one in ten does.
    assert differs.mean() < 0.01


@given(st.floats(0.25, 4), SCALES, st.floats(2.0**-10, 2.0**12))
def test_scales_of_whole_weights_move_hardly(scale: float, step: float, ratio: float) -> None:
    given_, out = np.array([scale], np.float32), step * ratio
    (found,) = untied.weight_scales(given_, step, out, np.array([True])).astype(float)
    power = 2.0 ** max(np.ceil(np.log2(1024 * step * float(given_[0]) / out)), 0)
    denominator = power * out / (step * found)
    assert denominator == pytest.approx(round(denominator), rel=1e-6)
    assert round(denominator) % 2 == 1
    assert found == pytest.approx(float(given_[0]), rel=1 / 1023)


@given(SCALES, st.integers(-128, 127), st.floats(1, 1.02))
def test_a_moved_grid_still_begins_where_it_began(scale: float, zero: int, factor: float) -> None:
    before = Grid(float(np.float32(scale)), zero, "int8")
    after = untied.regridded(before, scale * factor)
    low, high = ((lambda g: ((-128 - g.zero_point) * g.scale, (127 - g.zero_point) * g.scale))(g)
                 for g in (before, after))  # fmt: skip
    # The zero point is whole, so the ends move by half a step at most; the range only grows.
    if zero:
        assert high[0] == pytest.approx(low[0], abs=0.51 * after.scale)
    assert high[1] - high[0] >= (low[1] - low[0]) * (1 - 1e-6)


def test_a_constant_added_to_a_convolution_with_a_bias_runs_on_integers(
    build: Callable[..., Program], on_device: Any
) -> None:
    random = np.random.default_rng(0)
    shapes = {"w": (6, 3, 3, 3), "b": (6,), "places": (1, 6, 8, 8)}
    weights = {k: random.standard_normal(shape).astype("f4") for k, shape in shapes.items()}
    text = "c = Conv<pads=[1,1,1,1]>(x, w, b)  y = Add(c, places)"
    found = on_device(build(f"net (float[1,3,8,8] x) => (float[1,6,8,8] y) {{ {text} }}", **weights))
    found.agree()
    assert (found.operators["ADD"], found.operators["DEQUANTIZE"]) == (1, 1)


def test_weights_that_are_integers_already_lose_nothing(build: Callable[..., Program]) -> None:
    """A model whose weights were quantized before and held as floats since."""
    random = np.random.default_rng(0)
    integers_ = random.integers(-127, 128, (6, 4, 3, 3))
    integers_[:, 0, 0, 0] = 127
    weight = (integers_ * random.uniform(0.01, 0.1, (6, 1, 1, 1))).astype(np.float32)
    program = build("net (float[1,4,8,8] x) => (float[1,6,6,6] y) { y = Conv(x, w) }", w=weight)
    samples = [{"x": random.standard_normal((1, 4, 8, 8)).astype("f4")} for _ in range(4)]
    found = integers.calibrated(program, samples).quantized()
    (conv,) = [n for n in found.nodes if n.op_type == "Conv"]
    dequantize = conv.inputs[1].producer()  # type: ignore[union-attr]
    assert dequantize is not None
    held, scale = (v.const_value.numpy() for v in dequantize.inputs[:2])  # type: ignore[union-attr]
    np.testing.assert_array_equal(held, integers_)
    # The same integers; their scale is moved by half of 1/1024 at most, so that nothing ties.
    np.testing.assert_allclose(held * scale.reshape(-1, 1, 1, 1), weight, rtol=5e-4)
