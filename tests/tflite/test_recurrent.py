"""LSTM, GRU and RNN against ONNX Runtime: directions, batches, first states, and what is not computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgecut.ir.extract import subgraph
from edgecut.targets.tflite import backend, pack, verify

RANDOM = np.random.default_rng(0)
HIDDEN, SIZE = 5, 3
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layer(kind: str, inputs: str = "x w r b", outputs: str = "y h", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(" "), outputs.split(), hidden_size=HIDDEN, **attributes)


def constants(kind: str, directions: int = 1) -> dict[str, Any]:
    rows = GATES[kind] * HIDDEN
    shapes = {
        "w": (directions, rows, SIZE), "r": (directions, rows, HIDDEN), "b": (directions, 2 * rows),
        "p": (directions, 3 * HIDDEN),
    }  # fmt: skip
    return {name: (RANDOM.normal(size=shape) / 2).astype("f4") for name, shape in shapes.items()}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "after"), [("LSTM", 0), ("GRU", 0), ("GRU", 1), ("RNN", 0)])
def test_all_states(tester: Any, model: Any, kind: str, direction: str, batch: int, after: int) -> None:
    extra: dict[str, Any] = {"linear_before_reset": 1} if after else {}
    node = layer(kind, direction=direction, **extra)
    weights = constants(kind, 2 if direction == "bidirectional" else 1)
    tester(model([node], {"x": [6, batch, SIZE]}, ["y", "h"], weights)).lower().compare()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", GATES)
def test_given_first_states(tester: Any, model: Any, kind: str, batch: int) -> None:
    state = {"h0": [1, batch, HIDDEN]} | ({"c0": [1, batch, HIDDEN]} if kind == "LSTM" else {})
    node = layer(kind, " ".join(["x w r b ", *state]))
    tester(model([node], {"x": [4, batch, SIZE], **state}, ["y", "h"], constants(kind))).lower().compare()


def test_peepholes_and_clip(tester: Any, model: Any) -> None:
    node = layer("LSTM", "x w r b    p", "y h c", clip=0.6)
    test = tester(model([node], {"x": [4, 1, SIZE]}, ["y", "h", "c"], constants("LSTM")))
    test.lower().count("MAXIMUM", 4 * 4 - 1).compare()  # not the forget gate of the first step


def test_weights_are_stored_once_and_stay_out_of_xnnpack(tester: Any, model: Any) -> None:
    steps = 20
    weights = constants("LSTM")
    test = tester(model([layer("LSTM", outputs="y")], {"x": [steps, 1, SIZE]}, ["y"], weights)).lower()
    # The state is no part of the first step, and all inputs are one product.
    test.count("FULLY_CONNECTED", steps).count("ADD", steps - 1)


def test_the_last_step_needs_one_step_of_the_way_back(tester: Any, model: Any) -> None:
    nodes = [
        layer("GRU", outputs="y", direction="bidirectional", linear_before_reset=1),
        helper.make_node("Transpose", ["y"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "shape"], ["s"]),
        helper.make_node("Transpose", ["s"], ["batch"], perm=[1, 0, 2]),
        helper.make_node("Gather", ["batch", "last"], ["z"], axis=1),
    ]
    weights = constants("GRU", 2) | {"shape": np.array([0, 0, -1]), "last": np.array(-1)}
    test = tester(model(nodes, {"x": [8, 1, SIZE]}, ["z"], weights)).lower().compare()
    test.count("TANH", 8 + 1)


@pytest.mark.parametrize(
    ("attributes", "inputs", "reason"),
    [
        ({"activations": ["ScaledTanh"]}, "x w r b", "activation scaledtanh without alpha and beta"),
        ({}, "x w r2 b", "recurrent weights is not constant"),
    ],
)
def test_refusals(tester: Any, model: Any, attributes: Any, inputs: str, reason: str) -> None:
    graph_inputs = {"x": [4, 2, SIZE]} | ({"r2": [1, HIDDEN, HIDDEN]} if "r2" in inputs else {})
    node = layer("RNN", inputs, "y", name="layer", **attributes)
    weights = constants("RNN")
    assert tester(model([node], graph_inputs, ["y"], weights)).reasons() == {"layer": reason}


def wide(kind: str, directions: int = 1, hidden: int = 64) -> dict[str, Any]:
    """Weights of which a loop is made."""
    rows = GATES[kind] * hidden
    shapes = {"w": (directions, rows, SIZE), "r": (directions, rows, hidden), "b": (directions, 2 * rows)}
    return {name: (RANDOM.normal(size=shape) / 8).astype("f4") for name, shape in shapes.items()}


def looped(kind: str, inputs: str = "x w r b", outputs: str = "y h", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(" "), outputs.split(), hidden_size=64, **attributes)


# Rounds of four steps, of three, and of one.
@pytest.mark.parametrize("steps", [32, 33, 37])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "after"), [("LSTM", 0), ("GRU", 0), ("GRU", 1)])
def test_many_steps_are_a_loop(
    tester: Any, model: Any, kind: str, direction: str, steps: int, after: int
) -> None:
    extra: dict[str, Any] = {"linear_before_reset": 1} if after else {}
    count = 2 if direction == "bidirectional" else 1
    node = looped(kind, direction=direction, **extra)
    test = tester(model([node], {"x": [steps, 1, SIZE]}, ["y", "h"], wide(kind, count)))
    test.lower().count("WHILE", count).compare()


def test_a_loop_begins_with_given_states_each_time(tester: Any, model: Any) -> None:
    node = looped("LSTM", "x w r b  h0 c0", "y h c", layout=0)
    inputs = {"x": [32, 1, SIZE], "h0": [1, 1, 64], "c0": [1, 1, 64]}
    test = tester(model([node], inputs, ["y", "h", "c"], wide("LSTM"))).lower().count("WHILE", 1).compare()
    assert all((a == b).all() for a, b in zip(test.run().values(), test.run().values(), strict=True))


def test_a_loop_of_which_the_last_step_is_read_keeps_no_others(tester: Any, model: Any) -> None:
    nodes = [looped("LSTM", outputs="y"), helper.make_node("Gather", ["y", "last"], ["z"], axis=0)]
    weights = wide("LSTM") | {"last": np.array(-1)}
    test = tester(model(nodes, {"x": [32, 1, SIZE]}, ["z"], weights)).lower().compare()
    test.count("WHILE", 1).count("DYNAMIC_UPDATE_SLICE", 0)


def test_a_loop_of_which_the_last_state_is_read_keeps_no_steps(tester: Any, model: Any) -> None:
    node = looped("LSTM", outputs="y h c", direction="bidirectional")
    test = tester(model([node], {"x": [32, 1, SIZE]}, ["h", "c"], wide("LSTM", 2))).lower().compare()
    test.count("WHILE", 2).count("DYNAMIC_UPDATE_SLICE", 0)


def test_all_steps_of_a_loop_are_there_for_who_asks_although_only_the_last_is_read(
    tester: Any, model: Any
) -> None:
    nodes = [looped("GRU", outputs="y"), helper.make_node("Gather", ["y", "last"], ["z"], axis=0)]
    test = tester(model(nodes, {"x": [32, 1, SIZE]}, ["z"], wide("GRU") | {"last": np.array(-1)}))
    from ai_edge_litert.interpreter import Interpreter
    from onnxruntime import InferenceSession

    part = backend.signature(test.program, backend.lower(test.program), "whole", ["y"])
    interpreter = Interpreter(model_content=pack.pack([part], {}, {}), num_threads=1)
    inputs = verify.noise(test.program)
    made = interpreter.get_signature_runner("whole")(**inputs)["y"]
    whole = subgraph(test.program, ["x"], ["y"], "whole")
    (expected,) = InferenceSession(whole.bytes(), providers=["CPUExecutionProvider"]).run(["y"], inputs)
    np.testing.assert_allclose(made, expected, atol=1e-5)  # added in another order


def test_the_way_back_is_unrolled_where_few_of_its_steps_are_read(tester: Any, model: Any) -> None:
    nodes = [
        looped("GRU", outputs="y", direction="bidirectional"),
        helper.make_node("Slice", ["y", "starts", "ends"], ["z"]),
    ]
    weights = wide("GRU", 2) | {"starts": np.array([-2]), "ends": np.array([99])}
    test = tester(model(nodes, {"x": [32, 1, SIZE]}, ["z"], weights)).lower().compare()
    # A loop forwards, which gives the last two steps; two steps backwards.
    test.count("WHILE", 1).count("TANH", 4 + 2)


def test_more_steps_than_are_unrolled_are_a_loop_whatever_its_weights(tester: Any, model: Any) -> None:
    test = tester(model([layer("RNN")], {"x": [1500, 1, SIZE]}, ["y", "h"], constants("RNN")))
    test.lower().count("WHILE", 1).compare()
    several = tester(model([layer("RNN")], {"x": [1500, 2, SIZE]}, ["y", "h"], constants("RNN")))
    assert "1500 steps of several sequences" in str(several.reasons())


def test_a_loop_stores_no_room_for_its_steps(tester: Any, model: Any) -> None:
    sizes = []
    for steps in (64, 2048):
        test = tester(model([looped("LSTM", outputs="y")], {"x": [steps, 1, SIZE]}, ["y"], wide("LSTM")))
        sizes.append(len(test.lower().compare().emitted.data))
    assert abs(sizes[1] - sizes[0]) < 100
