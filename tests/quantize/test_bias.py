"""Bias correction takes systematic errors out, and only those."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.numerics import compare
from edgecut.passes.quantize.bias import CorrectBias
from edgecut.passes.quantize.static import Quantize

Build = Callable[..., Program]
Save = Callable[..., Path]


@pytest.fixture
def program(build: Build) -> Program:
    """A layer whose weights are all rounded in the same direction: its error is the same for every input."""
    first = np.full((8, 16, 1, 1), 0.5, np.float32)
    first[:, 0] = 127 / 127 * 1.27
    # On a grid of 0.01, 0.5 is exact, 0.504 is not: every weight but the largest one loses 0.004.
    first[:, 1:] = 0.504
    text = """net (float[1,16,4,4] x) => (float[1,4,4,4] y)
    { a = Conv(x, wa, ba)  r = Relu(a)  y = Conv(r, wb, bb) }"""
    rng = np.random.default_rng(0)
    zeros = {"ba": np.zeros(8, np.float32), "bb": np.zeros(4, np.float32)}
    return build(text, wa=first, wb=rng.random((4, 8, 1, 1), np.float32), **zeros)


@pytest.fixture
def path(save: Save) -> Path:
    return save(x=np.random.default_rng(1).random((32, 16, 4, 4), np.float32))


def test_a_systematic_error_goes(program: Program, path: Path) -> None:
    rounded = Quantize(calibration=path, method="minmax").run(program.copy(), Context())
    context = Context()
    item = CorrectBias(calibration=path)
    item.check_before(rounded)
    unseen = [{"x": np.random.default_rng(2).random((1, 16, 4, 4), np.float32)} for _ in range(8)]
    before = compare(program, rounded, unseen).sqnr_db
    found = item.run(rounded, context)
    # 15 inputs of mean 0.5 lose 0.004 each: 0.03 of 3.8, some 40 dB, which is near what 8 bits give at best.
    assert compare(program, found, unseen).sqnr_db > before + 1
    assert float(context.metrics["error_db"]) > float(context.metrics["error_db_before"])
    assert float(context.metrics["layers"]) >= 1


def test_what_does_not_help_is_taken_back(program: Program, path: Path) -> None:
    rounded = Quantize(calibration=path).run(program.copy(), Context())
    once = CorrectBias(calibration=path).run(rounded, Context())
    twice = Context()
    again = CorrectBias(calibration=path).run(once.copy(), twice)
    assert float(twice.metrics["error_db"]) >= float(twice.metrics["error_db_before"])
    if twice.metrics["layers"] == 0:
        assert again.bytes() == once.bytes()


def test_errors_that_differ_from_sample_to_sample_are_left_alone(build: Build, save: Save) -> None:
    """Weights rounded both ways at random: what six samples lack on average is chance, and no bias."""
    rng = np.random.default_rng(0)
    text = "net (float[1,64,1,1] x) => (float[1,8,1,1] y) { y = Conv(x, w, b) }"
    weight = rng.standard_normal((8, 64, 1, 1)).astype(np.float32)
    program = build(text, w=weight, b=np.zeros(8, np.float32))
    few = save(x=rng.standard_normal((6, 64, 1, 1)).astype(np.float32))
    rounded = Quantize(calibration=few, method="minmax").run(program.copy(), Context())
    before, context = rounded.bytes(), Context()
    assert CorrectBias(calibration=few).run(rounded, context).bytes() == before
    assert context.metrics["layers"] == 0


def test_only_what_was_quantized_can_be_corrected(program: Program, path: Path) -> None:
    with pytest.raises(ModelError, match="not quantized"):
        CorrectBias(calibration=path).check_before(program)
    with pytest.raises(UsageError, match="calibration"):
        CorrectBias().check_before(program)


def test_too_few_samples(program: Program, path: Path, save: Save) -> None:
    rounded = Quantize(calibration=path).run(program.copy(), Context())
    few = save(x=np.zeros((2, 16, 4, 4), np.float32))
    with pytest.raises(ModelError, match="too few"):
        CorrectBias(calibration=few).run(rounded, Context())
