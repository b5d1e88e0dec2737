"""LSTM, GRU and RNN against ONNX Runtime: directions, batches, first states, and what is not computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

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
        ({"activations": ["ScaledTanh"]}, "x w r b", "activations ScaledTanh"),
        ({}, "x w r2 b", "recurrent weights is not constant"),
    ],
)
def test_refusals(tester: Any, model: Any, attributes: Any, inputs: str, reason: str) -> None:
    graph_inputs = {"x": [4, 2, SIZE]} | ({"r2": [1, HIDDEN, HIDDEN]} if "r2" in inputs else {})
    node = layer("RNN", inputs, "y", name="layer", **attributes)
    weights = constants("RNN")
    assert tester(model([node], graph_inputs, ["y"], weights)).reasons() == {"layer": reason}
