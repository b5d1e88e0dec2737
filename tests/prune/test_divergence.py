"""How far a program's answers are from the original's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgecut.ir.program import Program
from edgecut.passes.divergence import Answers

Build = Callable[..., Program]
NET = "net (float[1,6] x) => (float[1,4] y, float[1,6] z) { g = MatMul(x, w)  y = Softmax(g)  z = Mul(x, h) }"


def program(build: Build, weight: np.ndarray, factor: float) -> Program:
    return build(NET, w=weight.astype(np.float32), h=np.float32(factor))


def test_softmax_by_its_probabilities_and_numbers_by_their_error(build: Build) -> None:
    random = np.random.default_rng(0)
    first, second = random.standard_normal((2, 6, 4))
    samples = [{"x": random.standard_normal((1, 6)).astype(np.float32)} for _ in range(5)]
    answers = Answers.of(program(build, first, 1.0), samples)
    whole = np.concatenate([sample["x"] for sample in samples]).astype(np.float64)

    def probabilities(weight: np.ndarray) -> np.ndarray:
        powers = np.exp(whole @ weight / 2)  # at temperature 2
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    p, q = probabilities(first), probabilities(second)
    divergence = 4 * np.mean(np.sum(p * np.log(p / q), axis=1))
    # Networks compute in float32.
    assert answers.divergence(program(build, second, 1.1)) == pytest.approx(divergence + 0.01, rel=1e-4)
    assert answers.divergence(program(build, first, 1.0)) == pytest.approx(0, abs=1e-12)
