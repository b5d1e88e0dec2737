"""Where a network is narrow, and what maps the pruned one's values there to the original's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.finetune import features
from edgecut.passes.numerics import Runner
from edgecut.passes.prune import narrow
from edgecut.passes.prune.channels import Prune

Build = Callable[..., Program]
NET = """net (float[1,3,8,8] x) => (float[1,4] y)
{ t = Mul(x, h)  a = Conv<pads=[1,1,1,1]>(t, wa)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, wb)  s = Add(r, b)
  u = Relu(s)  c = Conv(u, wc)  d = Conv(u, wd)  e = Mul(c, d)  p = GlobalAveragePool(e)  f = Flatten(p)
  g = Gemm(f, we)  y = Softmax(g) }"""


@pytest.fixture
def program(build: Build) -> Program:
    random = np.random.default_rng(0)
    shapes = {"wa": (8, 3, 3, 3), "wb": (8, 8, 3, 3), "wc": (6, 8, 1, 1), "wd": (6, 8, 1, 1), "we": (6, 4)}
    weights = {n: (random.standard_normal(s) / 4).astype(np.float32) for n, s in shapes.items()}
    return build(NET, h=np.float32(0.5), **weights)


def samples(count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    return [{"x": random.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


def test_narrow_places_are_where_all_hangs_on_one_value(program: Program) -> None:
    """Not before any weights (t), not inside of a branch (b), not what is only activated or moved (a, p)."""
    assert narrow.places(program) == ["r", "u", "e", "f"]


def test_where_all_channels_are_left_values_are_compared_as_they_are(program: Program) -> None:
    found = features.find(program, program.copy(), samples(8))
    assert [feature.name for feature in found] == ["r", "u", "e", "f"]
    assert all(feature.map is None for feature in found)


def test_the_power_is_the_variance_of_the_originals_values(program: Program) -> None:
    data = samples(8)
    found = features.find(program, program.copy(), data)
    values = np.stack([Runner(program, ["u"])(sample)["u"] for sample in data])
    # Sums of float32 against those of float64.
    assert found[1].power == pytest.approx(float(values.var()), rel=1e-4)


def test_a_map_stands_for_all_channels_where_some_are_gone(program: Program) -> None:
    pruned = Prune(ratio=0.125, importance="l2").run(program.copy(), Context())
    data = samples(64)
    by_name = {feature.name: feature for feature in features.find(program, pruned, data)}
    values = np.concatenate([Runner(program, ["r"])(one)["r"] for one in data])
    assert by_name["r"].power == pytest.approx(values.var(axis=(0, 2, 3)).mean(), rel=1e-4)  # sums of float32
    matrix, sample = by_name["r"].map, data[0]
    assert matrix is not None
    before, after = Runner(program, ["r"])(sample)["r"], Runner(pruned, ["r"])(sample)["r"]
    assert (by_name["r"].axis, after.shape[1], before.shape[1]) == (-3, 7, 8)
    mapped = np.moveaxis(after, 1, -1) @ matrix[:-1] + matrix[-1]
    error = np.mean((np.moveaxis(mapped, -1, 1) - before) ** 2, axis=(0, 2, 3)) / before.var()
    # Seven channels are there as they were; the eighth is as good as a regression on 64 samples makes it.
    assert np.sort(error)[-2] < 1e-6
    assert error.max() < 1
