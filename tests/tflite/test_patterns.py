"""Functions spelled out in several nodes become the kernel that computes them, however they are written."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from onnx import helper

C = math.sqrt(2 / math.pi)


def graph(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Nodes of ``out = Type a b; ...`` lines; numbers among the operands become constants."""
    nodes, constants = [], {}
    for line in text.strip().split(";"):
        out, expression = (part.strip() for part in line.split("="))
        kind, *operands = expression.split()
        for operand in operands:
            if not operand.isalpha():
                constants[operand] = np.float32(operand)
        nodes.append(helper.make_node(kind, operands, [out], name=f"{kind}_{out}"))
    return nodes, constants


GELU = {
    "torch": f"d = Div x {math.sqrt(2)}; e = Erf d; a = Add e 1.0; m = Mul x a; y = Mul m 0.5",
    "keras": f"h = Mul 0.5 x; d = Mul x {math.sqrt(0.5)}; e = Erf d; a = Add 1.0 e; y = Mul h a",
    "expanded": f"d = Mul {math.sqrt(0.5)} x; e = Erf d; g = Mul e 0.5; a = Add g 0.5; y = Mul x a",
    "tanh": f"p = Pow x 3.0; c = Mul p 0.044715; s = Add x c; u = Mul s {C}; t = Tanh u; a = Add t 1.0;"
    " h = Mul x 0.5; y = Mul h a",
    "horner": f"q = Mul x x; c = Mul q {C * 0.044715}; s = Add c {C}; u = Mul x s; t = Tanh u; a = Add t 1.0;"
    " m = Mul x a; y = Mul 0.5 m",
}  # fmt: skip


@pytest.mark.parametrize("name", GELU)
def test_gelu_is_one_kernel(tester: Any, model: Any, name: str) -> None:
    nodes, constants = graph(GELU[name])
    test = tester(model(nodes, {"x": [3, 40]}, ["y"], constants)).lower().only(GELU=1).compare()
    assert test.groups() == [tuple(node.name for node in nodes)]


def test_gelu_of_a_product_and_of_a_large_range(tester: Any, model: Any) -> None:
    nodes, constants = graph(f"x = Mul v w; {GELU['torch']}")
    test = tester(model(nodes, {"v": [1, 200], "w": [1, 200]}, ["y"], constants)).lower().only(MUL=1, GELU=1)
    test.compare({"v": np.linspace(-9, 9, 200, dtype="f4")[None], "w": np.full((1, 200), 3, "f4")})


@pytest.mark.parametrize(
    ("text", "operators"),
    [
        ("s = Add x 3.0; c = Clip s 0.0 6.0; m = Mul x c; y = Div m 6.0", {"HARD_SWISH": 1}),
        ("s = HardSigmoid x; y = Mul x s", {"MUL": 2, "ADD": 1, "RELU_0_TO_1": 1}),
        ("p = Softplus x; t = Tanh p; y = Mul x t", {"MINIMUM": 1, "EXP": 1, "ADD": 2, "MUL": 2, "DIV": 1}),
        ("q = Mul x x; a = Add q 0.01; r = Sqrt a; y = Div x r", {"MUL": 2, "ADD": 1, "RSQRT": 1}),
        ("r = Sqrt x; y = Div 1.0 r", {"SQRT": 1, "DIV": 1}),  # x may be zero
        ("s = Sigmoid x; y = Mul x s", {"LOGISTIC": 1, "MUL": 1}),
    ],
)
def test_other_patterns(tester: Any, model: Any, text: str, operators: dict[str, int]) -> None:
    nodes, constants = graph(text)
    test = tester(model(nodes, {"x": [3, 40]}, ["y"], constants)).lower()
    grid = np.linspace(0.1 if "Sqrt" in text else -8, 8, 120, dtype="f4")
    test.only(**operators).compare({"x": grid.reshape(3, 40)})


@pytest.mark.parametrize(
    "text",
    [
        GELU["torch"].replace("0.5", "0.51"),
        GELU["keras"].replace(str(math.sqrt(0.5)), "0.72"),
        GELU["tanh"].replace("0.044715", "0.0447"),
        GELU["torch"].replace("Mul x a", "Mul d a"),
        "s = Add x 2.9; c = Clip s 0.0 6.0; m = Mul x c; y = Div m 6.0",
    ],
)
def test_what_only_looks_like_a_pattern_is_computed_as_written(tester: Any, model: Any, text: str) -> None:
    nodes, constants = graph(text)
    test = tester(model(nodes, {"x": [3, 40]}, ["y"], constants)).lower().compare()
    test.count("GELU", 0).count("HARD_SWISH", 0)


def test_error_function_and_softplus_by_themselves(tester: Any, model: Any) -> None:
    nodes, constants = graph("y = Erf x; z = Softplus x")
    grid = np.concatenate([np.linspace(-6, 6, 500), [-300.0, 300.0, 0.0, -0.0]]).astype("f4")
    # 1.5e-7 is the error of the formula for erf, the rest that of float32 near 1.
    tester(model(nodes, {"x": [504]}, ["y", "z"], constants)).lower().compare({"x": grid}, limit=1e-6)


def test_a_value_inside_a_pattern_can_still_be_an_output(tester: Any, model: Any) -> None:
    nodes, constants = graph(GELU["torch"])
    tester(model(nodes, {"x": [3, 40]}, ["y", "e"], constants)).lower().count("GELU", 1).compare()
