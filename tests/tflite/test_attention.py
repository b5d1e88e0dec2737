"""Attention, in the forms in which exporters write it: computed head by head, without a TRANSPOSE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgecut.ir.extract import named_cut

T, HEADS, SIZE = 6, 2, 4
WIDTH = HEADS * SIZE
node = helper.make_node


def _weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def joint(model: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """One projection for all three, as timm has it; scaled queries, keys transposed at the end, a mask."""
    nodes = [
        node("MatMul", ["x", "wqkv"], ["p"], "project"),
        node("Add", ["p", "bqkv"], ["pb"], "bias"),
        node("Reshape", ["pb", "five"], ["r"], "reshape"),
        node("Transpose", ["r"], ["t"], "turn", perm=[2, 0, 3, 1, 4]),
        *(node("Gather", ["t", f"i{i}"], [name], name, axis=0) for i, name in enumerate("qkv")),
        node("Mul", ["q", "scale"], ["qs"], "scaled"),
        node("Transpose", ["k"], ["kt"], "keys", perm=[0, 1, 3, 2]),
        node("MatMul", ["qs", "kt"], ["s"], "scores"),
        node("Add", ["s", "mask"], ["sm"], "masked"),
        node("Softmax", ["sm"], ["a"], "softmax", axis=-1),
        node("MatMul", ["a", "v"], ["o"], "values"),
        node("Transpose", ["o"], ["ot"], "back", perm=[0, 2, 1, 3]),
        node("Reshape", ["ot", "three"], ["j"], "join"),
        node("MatMul", ["j", "wo"], ["y"], "out"),
    ]
    constants: dict[str, Any] = _weights(wqkv=(WIDTH, 3 * WIDTH), bqkv=(3 * WIDTH,), wo=(WIDTH, WIDTH))
    constants |= {f"i{i}": np.array(i, np.int64) for i in range(3)}
    constants |= {"five": np.array([1, T, 3, HEADS, SIZE]), "three": np.array([1, T, WIDTH])}
    constants["scale"] = np.array(SIZE**-0.5, np.float32)
    return model(nodes, {"x": [1, T, WIDTH], "mask": [1, 1, 1, T]}, ["y"], constants)


@pytest.fixture
def separate(model: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """Three projections, scores divided, heads joined with the batch, as Keras's einsums end up."""
    nodes: list[onnx.NodeProto] = []
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            node("MatMul", ["x", f"w{name}"], [f"{name}p"], f"project_{name}"),
            node("Reshape", [f"{name}p", "four"], [f"{name}r"], f"reshape_{name}"),
            node("Transpose", [f"{name}r"], [f"{name}t"], f"turn_{name}", perm=perm),
            node("Reshape", [f"{name}t", f"joined_{name}"], [name], f"joined_{name}"),
        ]
    nodes += [
        node("MatMul", ["q", "k"], ["s"], "scores"),
        node("Div", ["s", "root"], ["sd"], "divided"),
        node("Softmax", ["sd"], ["a"], "softmax", axis=-1),
        node("MatMul", ["a", "v"], ["o"], "values"),
        node("Reshape", ["o", "apart"], ["oa"], "apart"),
        node("Transpose", ["oa"], ["ot"], "back", perm=[0, 2, 1, 3]),
        node("Reshape", ["ot", "three"], ["y"], "join"),
    ]
    constants: dict[str, Any] = _weights(wq=(WIDTH, WIDTH), wk=(WIDTH, WIDTH), wv=(WIDTH, WIDTH))
    constants |= {"four": np.array([1, T, HEADS, SIZE]), "three": np.array([1, T, WIDTH])}
    constants |= {"joined_q": np.array([HEADS, T, SIZE]), "joined_v": np.array([HEADS, T, SIZE])}
    constants |= {"joined_k": np.array([HEADS, SIZE, T]), "apart": np.array([1, HEADS, T, SIZE])}
    constants["root"] = np.array(SIZE**0.5, np.float32)
    return model(nodes, {"x": [1, T, WIDTH]}, ["y"], constants)


def test_joint_projection_is_divided_into_heads(tester: Any, joint: onnx.ModelProto) -> None:
    test = tester(joint).lower().compare()
    # The scale is in the weights of the queries, and the mask is no constant.
    expected = {"FULLY_CONNECTED": 3 * HEADS + 1, "BATCH_MATMUL": 2 * HEADS, "SOFTMAX": HEADS, "ADD": HEADS}
    test.only(**expected, CONCATENATION=1, RESHAPE=1)


def test_separate_projections_with_joined_batches(tester: Any, separate: onnx.ModelProto) -> None:
    test = tester(separate).lower().compare()
    test.only(FULLY_CONNECTED=3 * HEADS, BATCH_MATMUL=2 * HEADS, SOFTMAX=HEADS, CONCATENATION=1)


def test_values_inside_can_still_be_sent(tester: Any, joint: onnx.ModelProto) -> None:
    test = tester(joint)
    test.lower(named_cut(test.program, "v+a"))
    made = test.run()
    assert {name: value.shape for name, value in made.items()} == {"v": (1, 2, 6, 4), "a": (1, 2, 6, 6)}


def test_heads_that_depend_on_each_other_stay_together(
    tester: Any, model: Callable[..., onnx.ModelProto]
) -> None:
    """Talking heads: scores mixed between heads by a product that is no batch of its own."""
    nodes = [
        node("Transpose", ["x"], ["xt"], "turn", perm=[0, 2, 1, 3]),
        node("CumSum", ["xt", "axis"], ["m"], "mixed"),
        node("MatMul", ["m", "w"], ["o"], "product"),
        node("Transpose", ["o"], ["ot"], "back", perm=[0, 2, 1, 3]),
        node("Reshape", ["ot", "three"], ["y"], "join"),
    ]
    constants = {"axis": np.array(1, np.int64), "three": np.array([1, T, WIDTH])}
    inputs = {"x": [1, T, HEADS, SIZE], "w": [1, HEADS, SIZE, SIZE]}
    tester(model(nodes, inputs, ["y"], constants)).lower().compare().count("BATCH_MATMUL", 1)


def test_scale_and_shift_go_into_the_matrix_behind(
    tester: Any, model: Callable[..., onnx.ModelProto]
) -> None:
    nodes = [
        node("LayerNormalization", ["x", "g", "b"], ["n"], "norm"),
        node("MatMul", ["n", "w"], ["y"], "product"),
        node("MatMul", ["n", "u"], ["z"], "other"),
    ]
    constants = _weights(g=(WIDTH,), b=(WIDTH,), w=(WIDTH, 3), u=(WIDTH, 5))
    test = tester(model(nodes, {"x": [1, T, WIDTH]}, ["y", "z"], constants)).lower().compare()
    # What is left multiplies and adds are the normalization's own: the square, its epsilon, the quotient.
    assert (test.operators["MUL"], test.operators["ADD"]) == (2, 1)


def test_scale_and_shift_that_others_read_stay(tester: Any, model: Callable[..., onnx.ModelProto]) -> None:
    nodes = [
        node("Mul", ["x", "g"], ["n"], "scale"),
        node("MatMul", ["n", "w"], ["p"], "product"),
        node("Add", ["n", "p"], ["y"], "residual"),
    ]
    constants = _weights(g=(WIDTH,), w=(WIDTH, WIDTH))
    tester(model(nodes, {"x": [1, T, WIDTH]}, ["y"], constants)).lower().compare().count("MUL", 1)


def test_int64_inputs_of_groups_are_verified(tester: Any, model: Callable[..., onnx.ModelProto]) -> None:
    from edgecut.targets.tflite import verify

    nodes = [
        node("Reshape", ["x", "flat"], ["f"], "flatten"),
        node("Cast", ["f"], ["c"], "cast", to=TensorProto.FLOAT),
        node("Relu", ["c"], ["y"], "relu"),
    ]
    test = tester(model(nodes, {"x": ([2, 3], TensorProto.INT64)}, ["y"], {"flat": np.array([6])}))
    assert all(check.ok for check in verify.groups(test.program, test.cut, verify.noise(test.program)))


def test_only_what_the_file_holds_is_verified(tester: Any, joint: onnx.ModelProto) -> None:
    """Heads stand apart in the file, so nothing of all heads at once is to be compared."""
    from edgecut.targets.tflite import verify

    test = tester(joint)
    checks = list(verify.groups(test.program, test.cut, verify.noise(test.program)))
    assert all(check.ok for check in checks)
    assert {check.value for check in checks} == {"y", "j"}
    assert {name for check in checks for name in check.nodes} == {n.name for n in test.program.nodes}
