"""Equalization changes nothing in float, and is kept only where int8 gains by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.numerics import compare
from edgecut.passes.quantize.equalize import Equalize, _groups, _rescale
from edgecut.passes.quantize.static import Quantize

Build = Callable[..., Program]
Save = Callable[..., Path]


def samples(seed: int, count: int = 16) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


@pytest.fixture
def uneven(build: Build) -> Program:
    """Channels differ a thousandfold in range, and the weights that read them make up for it."""
    rng = np.random.default_rng(0)
    spread = np.logspace(0, -3, 8).astype(np.float32)
    text = """net (float[1,3,8,8] x) => (float[1,5] y)
    { a = Conv(x, wa, ba)  r = Relu(a)  d = Conv<group=8, pads=[1,1,1,1]>(r, wd, bd)  q = Relu(d)
      c = Conv(q, wc)  s = Add(c, q)  p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(s)  f = Flatten(p)
      y = Gemm<transB=1>(f, wg, bg) }"""

    def weight(*shape: int) -> np.ndarray:
        return np.asarray(rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])), np.float32)

    wc = weight(8, 8, 1, 1) * spread[:, None, None, None] / spread[None, :, None, None]
    wg = weight(5, 128) / np.repeat(spread, 16)
    return build(
        text, wa=weight(8, 3, 1, 1) * spread[:, None, None, None], ba=weight(8, 1)[:, 0] * spread,
        wd=weight(8, 1, 3, 3), bd=weight(8, 1)[:, 0] * spread, wc=wc, wg=wg, bg=weight(5, 1)[:, 0],
    )  # fmt: skip


@pytest.fixture
def path(save: Save) -> Path:
    return save(x=np.concatenate([s["x"] for s in samples(1, 24)]))


def test_rescaling_computes_the_same(uneven: Program) -> None:
    groups = len(_groups(uneven))
    assert groups > 0
    for index in range(groups):
        candidate = uneven.copy()
        _rescale(candidate, _groups(candidate)[index], samples(1, 4), 1.0)
        changed = [
            name
            for name, value in uneven.graph.initializers.items()
            if value.const_value is not candidate.graph.initializers[name].const_value
        ]
        assert changed
        # Rounding of the scaled float32 weights: 24 bits are 144 dB, sums over them cost some.
        assert compare(uneven, candidate, samples(2)).sqnr_db > 110


def test_int8_gains_by_it(uneven: Program, path: Path) -> None:
    context = Context()
    item = Equalize(calibration=path)
    item.check_before(uneven)
    found = item.run(uneven.copy(), context)
    onnx.checker.check_model(found.proto(), full_check=True)
    plain = Quantize(calibration=path).run(uneven.copy(), Context())
    equalized = Quantize(calibration=path).run(found, Context())
    gain = compare(uneven, equalized, samples(3)).sqnr_db - compare(uneven, plain, samples(3)).sqnr_db
    # Without it the small channels have one level of 256, or none: more than a bit is won, 6 dB.
    assert gain > 6
    assert float(context.metrics["groups"]) >= 1


def test_relu6_is_left_alone(build: Build, path: Path) -> None:
    rng = np.random.default_rng(0)
    text = """net (float[1,3,8,8] x) => (float[1,5,8,8] y)
    { a = Conv(x, wa)  r = Clip(a, zero, six)  y = Conv(r, wb) }"""
    weights = {"wa": rng.random((8, 3, 1, 1), np.float32), "wb": rng.random((5, 8, 1, 1), np.float32)}
    program = build(text, zero=np.float32(0), six=np.float32(6), **weights)
    assert _groups(program) == []
    before = program.bytes()
    assert Equalize(calibration=path).run(program, Context()).bytes() == before


def test_wrong_use(uneven: Program, path: Path) -> None:
    with pytest.raises(UsageError, match="calibration"):
        Equalize().check_before(uneven)
    with pytest.raises(UsageError, match="at least"):
        Equalize(calibration=path, samples=2).check_before(uneven)
    rounded = Quantize(calibration=path).run(uneven.copy(), Context())
    with pytest.raises(ModelError, match="quantized already"):
        Equalize(calibration=path).check_before(rounded)
