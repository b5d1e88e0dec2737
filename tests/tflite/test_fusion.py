"""What becomes part of another operator: activations, paddings, scales, constants; and what must not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import helper

RANDOM = np.random.default_rng(0)
node = helper.make_node


def numbers(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype("f4")


CONV = {"w": numbers(6, 4, 3, 3), "b": numbers(6)}
TAKERS: dict[str, tuple[Any, dict[str, Any], Sequence[int], str]] = {
    "conv": (node("Conv", ["x", "w", "b"], ["m"]), CONV, [1, 4, 8, 8], "CONV_2D"),
    "depthwise": (node("Conv", ["x", "w"], ["m"], group=4), {"w": numbers(4, 1, 3, 3)}, [1, 4, 8, 8],
                  "DEPTHWISE_CONV_2D"),
    "transposed": (node("ConvTranspose", ["x", "w"], ["m"]), {"w": numbers(4, 5, 2, 2)}, [1, 4, 8, 8],
                   "TRANSPOSE_CONV"),
    "gemm": (node("Gemm", ["x", "w", "b"], ["m"]), {"w": numbers(5, 3), "b": numbers(3)}, [2, 5],
             "FULLY_CONNECTED"),
    "matmul": (node("MatMul", ["x", "w"], ["m"]), {"w": numbers(5, 3)}, [2, 4, 5], "FULLY_CONNECTED"),
    "add": (node("Add", ["x", "x"], ["m"]), {}, [2, 5], "ADD"),
    "sub": (node("Sub", ["x", "w"], ["m"]), {"w": numbers(5)}, [2, 5], "SUB"),
    "mul": (node("Mul", ["x", "w"], ["m"]), {"w": numbers(5)}, [2, 5], "MUL"),
    "average": (node("AveragePool", ["x"], ["m"], kernel_shape=[2, 2]), {}, [1, 4, 8, 8], "AVERAGE_POOL_2D"),
    "max": (node("MaxPool", ["x"], ["m"], kernel_shape=[2, 2]), {}, [1, 4, 8, 8], "MAX_POOL_2D"),
}  # fmt: skip
ACTIVATIONS = {
    "relu": (node("Relu", ["m"], ["y"]), {}),
    "relu6": (node("Clip", ["m", "low", "high"], ["y"]), {"low": np.float32(0), "high": np.float32(6)}),
    "relu_n1_to_1": (
        node("Clip", ["m", "low", "high"], ["y"]),
        {"low": np.float32(-1), "high": np.float32(1)},
    ),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("taker", TAKERS)
def test_an_activation_is_part_of_what_makes_its_input(
    tester: Any, model: Any, taker: str, activation: str
) -> None:
    made, constants, shape, kind = TAKERS[taker]
    after, limits = ACTIVATIONS[activation]
    test = tester(model([made, after], {"x": shape}, ["y"], constants | limits)).lower().compare()
    moves = {"TRANSPOSE": 2} if len(shape) == 4 else {}
    test.only(**{kind: 1}, **moves)


def test_what_another_reads_before_the_activation_is_kept(tester: Any, model: Any) -> None:
    nodes = [node("Conv", ["x", "w", "b"], ["m"]), node("Relu", ["m"], ["y"]), node("Neg", ["m"], ["z"])]
    test = tester(model(nodes, {"x": [1, 4, 8, 8]}, ["y", "z"], CONV)).lower().compare()
    test.count("RELU", 1).count("CONV_2D", 1)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_that_same_means_is_no_operator(tester: Any, model: Any, size: int, stride: int) -> None:
    total = (-(-size // stride) - 1) * stride + 3 - size
    before, after = total // 2, total - total // 2
    nodes = [
        node("Pad", ["x", "pads"], ["p"]),
        node("Conv", ["p", "w", "b"], ["y"], strides=[stride] * 2),
    ]
    pads = np.array([0, 0, before, before, 0, 0, after, after])
    test = tester(model(nodes, {"x": [1, 4, size, size]}, ["y"], CONV | {"pads": pads})).lower()
    test.only(CONV_2D=1, TRANSPOSE=2).compare()


@pytest.mark.parametrize("how", ["wider", "other end", "value", "channels"])
def test_padding_that_same_does_not_mean_is_kept(tester: Any, model: Any, how: str) -> None:
    rows = {"wider": [0, 0, 2, 2, 0, 0, 2, 2], "other end": [0, 0, 2, 2, 0, 0, 0, 0],
            "value": [0, 0, 1, 1, 0, 0, 1, 1], "channels": [0, 1, 1, 1, 0, 0, 1, 1]}  # fmt: skip
    value = np.float32(1.5 if how == "value" else 0)
    nodes = [node("Pad", ["x", "pads", "v"], ["p"]), node("Conv", ["p", "w", "b"], ["y"])]
    constants = CONV | {"pads": np.array(rows[how]), "v": value}
    test = tester(model(nodes, {"x": [1, 3 if how == "channels" else 4, 8, 8]}, ["y"], constants)).lower()
    test.count("PADV2" if how == "value" else "PAD", 1).compare()


@pytest.mark.parametrize("taker", ["conv", "depthwise", "gemm", "matmul"])
@pytest.mark.parametrize("kinds", [("Mul",), ("Add",), ("Mul", "Add"), ("Add", "Mul"), ("Div", "Sub")])
def test_scale_and_shift_are_in_the_weights(
    tester: Any, model: Any, taker: str, kinds: tuple[str, ...]
) -> None:
    made, constants, shape, kind = TAKERS[taker]
    channels = {"conv": (6, 1, 1), "depthwise": (4, 1, 1)}.get(taker, (3,))
    nodes, last = [made], "m"
    for i, after in enumerate(kinds):
        constants = {**constants, f"k{i}": numbers(*channels) + 3}
        nodes.append(node(after, [last, f"k{i}"], [f"o{i}"]))
        last = f"o{i}"
    test = tester(model(nodes, {"x": shape}, [last], constants)).lower().compare()
    test.only(**{kind: 1}, **({"TRANSPOSE": 2} if len(shape) == 4 else {}))


def test_shapes_that_are_computed_become_constants(tester: Any, model: Any) -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Unsqueeze", ["n", "axis"], ["n1"]),
        node("Concat", ["n1", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["r"]),
        node("ConstantOfShape", ["target"], ["c"], value=helper.make_tensor("v", 1, [1], [0.5])),
        node("Add", ["r", "c"], ["a"]),
        node("Range", ["start", "n", "step"], ["range"]),
        node("Cast", ["range"], ["f"], to=1),
        node("Reshape", ["f", "column"], ["g"]),
        node("Mul", ["a", "g"], ["y"]),
    ]
    constants = {
        "zero": np.array(0), "axis": np.array([0]), "rest": np.array([20]), "start": np.array(0),
        "step": np.array(1), "column": np.array([-1, 1]),
    }  # fmt: skip
    test = tester(model(nodes, {"x": [3, 4, 5]}, {"y": [3, 20]}, constants)).lower()
    test.only(RESHAPE=1, ADD=1, MUL=1).compare()


def test_what_changes_nothing_and_what_nobody_reads_is_gone(tester: Any, model: Any) -> None:
    nodes = [
        node("Identity", ["x"], ["a"]),
        node("Dropout", ["a"], ["b"]),
        node("Cast", ["b"], ["c"], to=1),
        node("Transpose", ["c"], ["d"], perm=[1, 0]),
        node("Transpose", ["d"], ["e"], perm=[1, 0]),
        node("Reshape", ["e", "same"], ["f"]),
        node("Exp", ["f"], ["unread"]),
        node("Tanh", ["f"], ["y"]),
    ]
    test = tester(model(nodes, {"x": [3, 4]}, ["y"], {"same": np.array([3, 4])})).lower()
    test.only(TANH=1).compare()


def test_a_layer_norm_that_torch_wrote_out_is_as_short_as_the_operator(tester: Any, model: Any) -> None:
    nodes = [
        node("ReduceMean", ["x"], ["mean"], axes=[-1]),
        node("Sub", ["x", "mean"], ["d"]),
        node("Pow", ["d", "two"], ["q"]),
        node("ReduceMean", ["q"], ["var"], axes=[-1]),
        node("Add", ["var", "eps"], ["ve"]),
        node("Sqrt", ["ve"], ["sd"]),
        node("Div", ["d", "sd"], ["n"]),
        node("Mul", ["n", "g"], ["m"]),
        node("Add", ["m", "b"], ["y"]),
    ]
    constants = {"two": np.float32(2), "eps": np.float32(1e-5), "g": numbers(16), "b": numbers(16)}
    written = tester(model(nodes, {"x": [2, 5, 16]}, ["y"], constants)).lower().compare()
    own = node("LayerNormalization", ["x", "g", "b"], ["y"])
    one = tester(model([own], {"x": [2, 5, 16]}, ["y"], {k: constants[k] for k in "gb"})).lower().compare()
    assert sum(written.operators.values()) <= sum(one.operators.values())
