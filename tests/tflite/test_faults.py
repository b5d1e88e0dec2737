"""What LiteRT or XNNPACK computes wrongly as it would be written at first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

INT32 = TensorProto.INT32


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def test_a_sum_does_not_write_over_what_another_reshape_is_yet_to_read(tester: Any, model: Any) -> None:
    nodes = [
        node("Mul", "a b", "m"), node("Sub", "m b", "s"),  # its memory is that of the product
        node("Unsqueeze", "s zero", "u"), node("Add", "u u2", "p"), node("Mul", "p u2", "first"),
        node("Unsqueeze", "s one", "v"), node("Add", "v v2", "q"), node("Mul", "q v2", "second"),
    ]  # fmt: skip
    shapes = {"a": ([3, 4], INT32), "b": ([3, 4], INT32), "u2": ([1, 3, 4], INT32), "v2": ([3, 1, 4], INT32)}
    constants = {"zero": np.array([0]), "one": np.array([1])}
    test = tester(model(nodes, shapes, ["first", "second"], constants, 21)).lower()
    inputs = {n: np.arange(12, dtype="i4").reshape(s) + 5 for n, (s, _) in shapes.items()}
    test.compare(inputs)


def test_bits_of_large_integers(tester: Any, model: Any) -> None:
    a = np.array([[1505919582, 588245966]], "i4")
    shapes = {"a": ([1, 2], INT32), "b": ([2], INT32)}
    test = tester(model([node("BitwiseAnd", "a b", "y")], shapes, ["y"], opset=21)).lower()
    test.compare({"a": a, "b": a[0]})


def test_the_product_of_a_turned_tensor_with_itself(tester: Any, model: Any) -> None:
    nodes = [node("MaxPool", "x", "p", kernel_shape=[2, 2]), node("MatMul", "p p", "y")]
    # The pool has its channels last, the product wants them first.
    tester(model(nodes, {"x": [1, 3, 5, 5]}, ["y"])).lower().count("BATCH_MATMUL", 1).compare()


@pytest.mark.parametrize("nodes", [
    [node("Pow", "x minus_half", "y")],
    [node("Sqrt", "x", "r"), node("Div", "one r", "y")],
    [node("Sqrt", "x", "r"), node("Reciprocal", "r", "y")],
], ids=["power", "quotient", "reciprocal"])  # fmt: skip
def test_one_by_the_root_of_zero_is_infinite(tester: Any, model: Any, nodes: list[Any]) -> None:
    constants = {"minus_half": np.float32(-0.5), "one": np.float32(1)}
    used = {name: c for name, c in constants.items() if any(name in n.input for n in nodes)}
    x = np.array([0, 1, 4, np.inf], "f4")
    tester(model(nodes, {"x": [4]}, ["y"], used)).lower().compare({"x": x})
