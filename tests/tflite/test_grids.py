"""Integers that are moved before they are dequantized, as ONNX Runtime's optimizer leaves them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

GRID = {"s": np.float32(0.1), "z": np.uint8(7)}
RANDOM = np.random.default_rng(0)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), name=outputs.split()[0], **attributes)


MOVES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "transposed": ([node("Transpose", "q", "m", perm=[0, 3, 1, 2])], {}),
    "split": ([node("Split", "q", "a b", axis=1, num_outputs=2),
               node("Transpose", "b", "m", perm=[0, 2, 1, 3])], {}),
    "sliced": ([node("Slice", "q from to", "c"), node("Transpose", "c", "m", perm=[0, 3, 1, 2])],
               {"from": np.array([0, 1]), "to": np.array([1, 3])}),
    "gathered": ([node("Gather", "q i", "c", axis=1), node("Transpose", "c", "m", perm=[0, 2, 3, 1])],
                 {"i": np.array([0, 3, 1])}),
    "joined": ([node("Concat", "q more", "c", axis=1), node("Transpose", "c", "m", perm=[0, 2, 3, 1])],
               {"more": RANDOM.integers(0, 255, (1, 2, 3, 4)).astype("u1")}),
    "padded with zero": ([node("Pad", "q pads", "c"), node("Transpose", "c", "m", perm=[0, 2, 3, 1])],
                         {"pads": np.array([0, 0, 1, 1, 0, 0, 0, 2])}),
    "padded with an integer": ([node("Pad", "q pads v", "m")],
                               {"pads": np.array([0, 0, 1, 1, 0, 0, 0, 2]), "v": np.uint8(9)}),
    "pooled": ([node("MaxPool", "q", "m", kernel_shape=[2, 2])], {}),
    "resized": ([node("Resize", "q x1 x2", "m", mode="nearest")],
                {"x1": np.zeros(0, "f4"), "x2": np.array([1, 1, 2, 2], "f4")}),
}  # fmt: skip


@pytest.mark.parametrize("given", ["rounded", "given"])
@pytest.mark.parametrize("case", MOVES)
def test_moved_integers_keep_their_grid(tester: Any, model: Any, case: str, given: str) -> None:
    """Those of a QuantizeLinear, or of an input, of whose grid nothing tells but what reads it."""
    moves, constants = MOVES[case]
    last = moves[-1].output[0]
    nodes = [*moves, node("DequantizeLinear", f"{last} s z", "d"), node("Relu", "d", "y")]
    shape = [1, 4, 3, 4]
    if given == "rounded":
        nodes.insert(0, node("QuantizeLinear", "x s z", "q"))
        test = tester(model(nodes, {"x": shape}, ["y"], {**constants, **GRID}, 19)).lower()
        test.compare({"x": RANDOM.normal(size=shape).astype("f4") * 8})
        return
    test = tester(model(nodes, {"q": (shape, TensorProto.UINT8)}, ["y"], {**constants, **GRID}, 19)).lower()
    test.compare({"q": RANDOM.integers(0, 255, shape).astype("u1")})


def test_a_product_with_integers_that_were_turned(tester: Any, model: Any) -> None:
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node("Split", "q", "a b", axis=1, num_outputs=2),
        node("Transpose", "b", "t", perm=[0, 1, 3, 2]), node("QLinearMatMul", "a s z t s z ws z", "m"),
        node("DequantizeLinear", "m ws z", "y"),
    ]  # fmt: skip
    constants = {**GRID, "ws": np.float32(0.3)}
    test = tester(model(nodes, {"x": [1, 4, 3, 5]}, ["y"], constants, 19)).lower()
    test.compare({"x": RANDOM.normal(size=(1, 4, 3, 5)).astype("f4") * 3})


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_table_stays_as_small_as_it_is_stored(tester: Any, model: Any, dtype: str) -> None:
    grid = {"s": np.float32(0.1), "z": np.array(3, dtype)}
    table = RANDOM.integers(0, 100, (500, 16)).astype(dtype)
    nodes = [node("DequantizeLinear", "table s z", "d"), node("Gather", "d i", "y")]
    test = tester(model(nodes, {"i": ([5], TensorProto.INT64)}, ["y"], {**grid, "table": table}, 19)).lower()
    test.compare({"i": np.array([3, -1, 499, 0, 7])})
    assert test.emitted is not None
    assert len(test.emitted.data) < 500 * 16 + 4096


def test_comparing_and_limiting_rounded_numbers(tester: Any, model: Any) -> None:
    """On the integers themselves, whatever they stand for."""
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node("Clip", "q low high", "c"), node("Equal", "q seven", "e"),
        node("Max", "q seven", "m"), node("ArgMax", "q", "a", axis=1),
    ]  # fmt: skip
    constants = {**GRID, "low": np.uint8(4), "high": np.uint8(12), "seven": np.uint8(7)}
    test = tester(model(nodes, {"x": [3, 8]}, ["c", "e", "m", "a"], constants, 19)).lower()
    test.compare({"x": RANDOM.normal(size=(3, 8)).astype("f4")})
