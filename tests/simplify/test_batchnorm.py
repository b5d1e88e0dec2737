"""BatchNormalization vanishes, and the numbers stay."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecut.ir import annotations
from edgecut.ir.annotations import Origin
from edgecut.ir.program import Program
from edgecut.ir.verify import verify
from edgecut.passes.simplify import batchnorm

Parse = Callable[..., Program]
Run = Callable[[Program, dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]


def _parameters(rng: np.random.Generator, channels: int) -> dict[str, NDArray[Any]]:
    values = {
        "gamma": rng.uniform(-1.5, 1.5, channels),
        "beta": rng.standard_normal(channels),
        "mean": rng.standard_normal(channels),
        "variance": rng.uniform(0.05, 3, channels),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def _weight(rng: np.random.Generator, *shape: int) -> NDArray[Any]:
    return rng.standard_normal(shape).astype(np.float32)


BN = "BatchNormalization<epsilon = 0.01>"

CASES = {
    "conv": ("[c] a = Conv(x, w)", (6, 4, 3, 3), ["Conv"]),
    "conv with bias": ("[c] a = Conv(x, w, beta)", (6, 4, 3, 3), ["Conv"]),
    "grouped conv": ("[c] a = Conv<group = 2>(x, w)", (6, 2, 1, 1), ["Conv"]),
    "transposed conv": ("[c] a = ConvTranspose(x, w, beta)", (4, 6, 2, 2), ["ConvTranspose"]),
    "grouped transposed conv": ("[c] a = ConvTranspose<group = 2>(x, w)", (4, 3, 2, 2), ["ConvTranspose"]),
}


@pytest.mark.parametrize("case", CASES)
def test_it_folds_into_what_has_weights(case: str, parse: Parse, run: Run, rng: np.random.Generator) -> None:
    line, shape, operators = CASES[case]
    bn = f"[n] y = {BN}(a, gamma, beta, mean, variance)"
    body = f"g (float[1,4,5,5] x) => (float[1,6,h,w] y) {{ {line} {bn} }}"
    program = parse(body, w=_weight(rng, *shape), **_parameters(rng, 6))
    _fold_and_compare(program, run, rng, operators)
    (node,) = program.nodes
    assert node.name == "c"
    assert annotations.get(node, Origin) == Origin(("c", "n"))


@pytest.mark.parametrize("attributes", ["", "<transB = 1>", "<alpha = 0.5>"])
def test_it_folds_into_gemm(parse: Parse, run: Run, rng: np.random.Generator, attributes: str) -> None:
    weight = _weight(rng, 6, 4) if "transB" in attributes else _weight(rng, 4, 6)
    body = f"g (float[3,4] x) => (float[3,6] y) {{ a = Gemm{attributes}(x, w, beta) y = {BN}(a, gamma, beta, mean, variance) }}"  # fmt: skip  # noqa: E501
    _fold_and_compare(parse(body, w=weight, **_parameters(rng, 6)), run, rng, ["Gemm"])


@pytest.mark.parametrize("line", ["a = Gemm<beta = 2.0>(x, w, beta)", "a = Gemm(x, w, rows)"])
def test_a_bias_that_is_not_per_channel_is_left_alone(
    parse: Parse, run: Run, rng: np.random.Generator, line: str
) -> None:
    body = f"g (float[3,4] x) => (float[3,6] y) {{ {line} y = {BN}(a, gamma, beta, mean, variance) }}"
    rows = {"rows": _weight(rng, 3, 6)} if "rows" in line else {}
    program = parse(body, w=_weight(rng, 4, 6), **rows, **_parameters(rng, 6))
    _fold_and_compare(program, run, rng, ["Gemm", "Mul", "Add"])


@pytest.mark.parametrize("body", [
    "g (float[1,6,5,5] x) => (float[1,6,5,5] y) { y = BN(x, gamma, beta, mean, variance) }",
    "g (float[1,6,5,5] x) => (float[1,6,5,5] y) { a = Relu(x) y = BN(a, gamma, beta, mean, variance) }",
])  # fmt: skip
def test_alone_it_becomes_a_mul_and_an_add(
    body: str, parse: Parse, run: Run, rng: np.random.Generator
) -> None:
    program = parse(body.replace("BN", BN), **_parameters(rng, 6))
    before = [n.op_type for n in program.nodes][:-1]
    _fold_and_compare(program, run, rng, [*before, "Mul", "Add"])


def test_a_convolution_that_others_read_keeps_its_weights(
    parse: Parse, run: Run, rng: np.random.Generator
) -> None:
    for outputs, tail in (("float[1,6,5,5] y, float[1,6,5,5] z", "z = Relu(a)"), ("float[1,6,5,5] y, float[1,6,5,5] a", "")):  # fmt: skip  # noqa: E501
        body = f"g (float[1,4,5,5] x) => ({outputs}) {{ a = Conv(x, w) y = {BN}(a, gamma, beta, mean, variance) {tail} }}"  # fmt: skip  # noqa: E501
        program = parse(body, w=_weight(rng, 6, 4, 1, 1), **_parameters(rng, 6))
        _fold_and_compare(program, run, rng, None)


def test_shared_weights_are_not_scaled_for_both(parse: Parse, run: Run, rng: np.random.Generator) -> None:
    body = f"""g (float[1,4,5,5] x) => (float[1,6,5,5] y, float[1,6,5,5] z) {{
        a = Conv(x, w) y = {BN}(a, gamma, beta, mean, variance) z = Conv(x, w) }}"""
    _fold_and_compare(
        parse(body, w=_weight(rng, 6, 4, 1, 1), **_parameters(rng, 6)), run, rng, ["Conv", "Conv"]
    )


def test_training_mode_and_computed_parameters_stay(parse: Parse, rng: np.random.Generator) -> None:
    parameters = _parameters(rng, 4)
    body = "g (float[1,4,5,5] x, float[4] s) => (float[1,4,5,5] y) { y = BatchNormalization(x, s, beta, mean, variance) }"  # fmt: skip  # noqa: E501
    del parameters["gamma"]
    program = parse(body, **parameters)
    assert batchnorm.fold(program) == 0
    assert [n.op_type for n in program.nodes] == ["BatchNormalization"]


def _fold_and_compare(
    program: Program, run: Run, rng: np.random.Generator, operators: list[str] | None
) -> None:
    feed = {s.name: _weight(rng, *(int(d or 1) for d in s.shape)) for s in program.inputs}
    expected = run(program, feed)
    assert batchnorm.fold(program) == 1
    verify(program)
    if operators is not None:
        assert [n.op_type for n in program.nodes] == operators
    found = run(program, feed)
    assert list(found) == list(expected)
    for name, values in expected.items():
        # One rounding of the weights to float32 more than before, over at most 36 terms of size ten.
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=2e-5)
