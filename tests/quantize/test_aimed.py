"""Ranges by what they do to the outputs: cut off where nothing is lost, wider where unseen data is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.numerics import compare
from edgecut.passes.quantize import aimed
from edgecut.passes.quantize.integers import calibrated
from edgecut.passes.quantize.static import Quantize

Build = Callable[..., Program]
Save = Callable[..., Path]


def _samples(count: int, seed: int, shape: tuple[int, ...] = (1, 4, 6, 6)) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.random(shape, np.float32)} for _ in range(count)]


def _shares(program: Program, samples: list[dict[str, np.ndarray]]) -> dict[str, aimed.Share]:
    clipped, extremes = (calibrated(program.copy(), samples, method) for method in aimed.STARTS)
    return aimed.shares(extremes, clipped, samples, lambda: None)


@pytest.fixture
def rectified(build: Build) -> Program:
    """The sum of two layers, one with far negative results, that a Relu makes zeros of."""
    text = """net (float[1,4,6,6] x) => (float[1,2,6,6] y)
    { a = Conv(x, wa)  b = Conv(x, wb)  s = Add(a, b)  r = Relu(s)  y = Conv(r, wy) }"""
    rng = np.random.default_rng(0)
    wa, wb = (rng.standard_normal((8, 4, 1, 1)).astype(np.float32) for _ in range(2))
    wa[4:] = -30 * np.abs(wa[4:])
    return build(text, wa=wa, wb=wb, wy=rng.standard_normal((2, 8, 1, 1)).astype(np.float32))


def test_what_a_relu_removes_is_cut_off(rectified: Program, save: Save) -> None:
    samples, unseen = _samples(32, 1), _samples(8, 2)
    low, high = _shares(rectified, samples)["a"]
    assert low < 0.3 < high
    path = save(x=np.concatenate([sample["x"] for sample in samples]))
    found = {
        method: compare(
            rectified, Quantize(calibration=path, method=method).run(rectified.copy(), Context()), unseen
        ).sqnr_db
        for method in ("output", "mse", "minmax")
    }
    # A quarter of the range is two bits, 12 dB; other roundings leave some of it.
    assert found["output"] > max(found["mse"], found["minmax"]) + 3


def test_scores_that_unseen_data_exceeds_get_room(build: Build) -> None:
    text = "net (float[1,4] x) => (float[1,3] y) { h = MatMul(x, w)  r = Relu(h)  y = MatMul(r, v) }"
    rng = np.random.default_rng(3)
    program = build(
        text, w=rng.standard_normal((4, 16)).astype(np.float32), v=rng.random((16, 3), np.float32)
    )
    samples = [{"x": (rng.random((1, 4)) * rng.lognormal(0, 1)).astype(np.float32)} for _ in range(64)]
    assert _shares(program, samples)["y"][1] > 1


def test_equal_grids_get_equal_shares(residual: Program) -> None:
    rng = np.random.default_rng(4)
    samples = [{"image": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(32)]
    found = _shares(residual, samples)
    assert found["p"] == found["c"] == found["cat"]


def test_few_samples_choose_nothing(rectified: Program) -> None:
    assert not _shares(rectified, _samples(aimed.FEWEST - 1, 1))
