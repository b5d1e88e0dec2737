"""Work is counted as kernels do it: by hand-computed figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgecut.ir import work
from edgecut.ir.program import Program


def nodes(program: Program, *names: str) -> list[Any]:
    by_name = {n.name: n for n in program.nodes}
    return [by_name[name] for name in names]


@pytest.mark.parametrize(
    ("name", "kind", "macs"),
    [
        ("conv1", "stem", 16 * 16 * 16 * 3 * 9),
        ("depthwise", "depthwise", 16 * 16 * 16 * 9),
        ("pointwise", "pointwise", 16 * 16 * 16 * 16),
        ("add", "elementwise", 0),
        ("mean", "pool", 0),
        ("dense", "vector", 16 * 10),
    ],
)
def test_kinds_and_macs(convnet: Program, name: str, kind: str, macs: int) -> None:
    found = work.group(nodes(convnet, name))
    assert (found.kind, found.macs) == (kind, macs)


def test_a_group_moves_only_what_enters_and_leaves_it(convnet: Program) -> None:
    found = work.group(nodes(convnet, "conv1", "relu1"))
    weights = (16 * 3 * 9 + 16) * 4
    assert found.weight_bytes == weights
    assert found.bytes == 3 * 32 * 32 * 4 + 16 * 16 * 16 * 4 + weights


def test_views_move_nothing(convnet: Program) -> None:
    found = work.group(nodes(convnet, "flatten"))
    assert (found.kind, found.bytes, found.output_bytes) == ("view", 0, 16 * 4)


@pytest.mark.parametrize(
    ("name", "loops", "taps"),
    [
        ("conv1", 16 * 16 * 16 * 9, 16 * 16 * 9),  # three channels in, sixteen out
        ("depthwise", 0, 0),  # sums over no channels
        ("pointwise", 16 * 16 * 16, 16 * 16),
        ("dense", 10, 0),  # one position is a fixed cost
        ("add", 0, 0),
    ],
)
def test_sums_over_channels_and_positions_of_kernels(
    convnet: Program, name: str, loops: int, taps: int
) -> None:
    assert work.loops_and_taps(*nodes(convnet, name)) == (loops, taps)


def test_depthwise_convolutions_of_many_taps_are_a_kind_of_their_own(make: Any) -> None:
    listed = [
        helper.make_node("Conv", ["x", "w5"], ["a"], "five", group=8),
        helper.make_node("Conv", ["a", "w7"], ["y"], "seven", group=8),
    ]
    weights = {"w5": np.ones((8, 1, 5, 5), np.float32), "w7": np.ones((8, 1, 7, 7), np.float32)}
    program = make(listed, {"x": (1, 8, 16, 16)}, ["y"], weights)
    assert [work.group(nodes(program, name)).kind for name in ("five", "seven")] == ["depthwise", "wide"]


def test_transposed_convolutions_count_over_their_inputs(make: Any) -> None:
    listed = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up", strides=[2, 2])]
    program = make(listed, {"x": (1, 8, 5, 5)}, ["y"], {"w": np.ones((8, 3, 2, 2), np.float32)})
    found = work.group(nodes(program, "up"))
    assert (found.kind, found.macs) == ("transposed", 8 * 25 * 3 * 4)
    assert (found.loops, found.taps) == (25 * 3 * 4, 25 * 4)


def test_a_lookup_reads_what_it_gives_and_not_its_table(make: Any) -> None:
    listed = [
        helper.make_node("Cast", ["x"], ["i"], "cast", to=7),
        helper.make_node("Gather", ["table", "i"], ["y"], "lookup"),
    ]
    program = make(listed, {"x": (1, 5)}, ["y"], {"table": np.ones((1000, 16), np.float32)})
    found = work.group(nodes(program, "lookup"))
    assert (found.kind, found.weight_bytes) == ("layout", 1000 * 16 * 4)
    assert found.bytes == 5 * 8 + 2 * 5 * 16 * 4


def test_what_stands_at_the_input_is_a_kind_of_its_own(make: Any) -> None:
    listed = [
        helper.make_node("Relu", ["x"], ["r"], "first"),
        helper.make_node("Neg", ["r"], ["y"], "second"),
    ]
    program = make(listed, {"x": (1, 4)}, ["y"])
    assert [work.group(nodes(program, name)).kind for name in ("first", "second")] == ["input", "elementwise"]


@pytest.mark.parametrize("bits", [8, 16])
def test_quantized_tensors_count_as_integers(make: Any, bits: int) -> None:
    scale, zero = np.float32(0.1), np.int8(0)
    weights = {
        "s": np.array(scale),
        "z": np.array(zero),
        "w": np.ones((8, 4, 1, 1), np.int8),
        "a": np.array(0, f"int{bits}"),
    }
    listed = [
        helper.make_node("QuantizeLinear", ["x", "s", "a"], ["xq"], "qx"),
        helper.make_node("DequantizeLinear", ["xq", "s", "a"], ["xf"], "dx"),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"], "dw"),
        helper.make_node("Conv", ["xf", "wf"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("QuantizeLinear", ["r", "s", "a"], ["y"], "qy"),
    ]
    program = make(listed, {"x": (1, 4, 10, 10)}, ["y"], weights)
    found = work.group(nodes(program, "conv", "relu", "qy"))
    assert (found.kind, found.precision) == ("pointwise", f"int{bits}")
    assert found.macs == 8 * 4 * 100
    # 400 integers in, 800 out, 32 int8 weights, and the scale and zero points of weight and output.
    assert found.bytes == (400 + 800) * bits // 8 + found.weight_bytes
    assert found.weight_bytes == 32 + 4 + 1 + bits // 8


def test_a_part_of_a_step_added_before_rounding_is_no_float_arithmetic(make: Any) -> None:
    listed = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], "qx"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xf"], "dx"),
        helper.make_node("Resize", ["xf", "", "twice"], ["r"], "resize", mode="linear"),
        helper.make_node("Add", ["r", "part"], ["u"], "halves"),
        helper.make_node("QuantizeLinear", ["u", "s", "z"], ["y"], "qy"),
    ]
    floats = {"s": 0.1, "part": 0.001, "twice": [1, 1, 2, 2]}
    constants = {"z": np.array(0, np.int8), **{k: np.array(v, np.float32) for k, v in floats.items()}}
    program = make(listed, {"x": (1, 4, 10, 10)}, ["y"], constants)
    found = work.group(nodes(program, "resize", "halves", "qy"))
    assert (found.kind, found.precision) == ("resize", "int8")


def test_matrix_products(make: Any) -> None:
    listed = [
        helper.make_node("MatMul", ["a", "w"], ["p"], "dense"),
        helper.make_node("MatMul", ["p", "b"], ["y"], "dynamic"),
    ]
    inputs = {"a": (2, 5, 7), "b": (2, 3, 4)}
    program = make(listed, inputs, ["y"], {"w": np.ones((7, 3), np.float32)})
    dense, dynamic = (work.group(nodes(program, name)) for name in ("dense", "dynamic"))
    assert (dense.kind, dense.macs) == ("dense", 2 * 5 * 3 * 7)
    assert (dynamic.kind, dynamic.macs) == ("matmul", 2 * 5 * 4 * 3)


def test_peak_activation_is_where_most_is_alive(convnet: Program) -> None:
    # While the pointwise convolution runs: its input and result, and the relu that the add still needs.
    assert work.peak_activation_bytes(convnet) == 3 * 16 * 16 * 16 * 4


def test_macs_of_known_networks(zoo: Any) -> None:
    import onnx

    model = onnx.load(str(zoo / "models" / "mobilenetv2_imagenet.onnx"))
    program = Program.from_proto(onnx.shape_inference.infer_shapes(model))
    # MobileNetV2 1.0 at 224 is published with 300 million multiply-adds.
    assert sum(work.macs(n) for n in program.nodes) == pytest.approx(300e6, rel=0.01)
