"""Layers of a block refitted together: what a regression per layer cannot win back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir
import pytest

from edgecut.frontends.data import load
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.numerics import Runner
from edgecut.passes.prune import blocks, choose, newton, rules
from edgecut.passes.prune.attempt import Workshop
from edgecut.passes.prune.channels import Prune
from edgecut.passes.prune.newton import Pairs

pytest.importorskip("torch")

Build = Callable[..., Program]
Save = Callable[..., Path]
NET = """net (float[1,3,8,8] x) => (float[1,4] y)
{ a = Conv<pads=[1,1,1,1]>(x, wa, ba)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, wb)  s = Relu(b)
  c = Conv<pads=[1,1,1,1]>(s, wc)  t = Add(r, c)  u = Relu(t)  p = GlobalAveragePool(u)  f = Flatten(p)
  g = Gemm(f, wd)  y = Softmax(g) }"""
PARTS = [
    pytest.param(
        "a = Conv<pads=[1,1,1,1]>(x, wa, ba)", "1,6,8,8", {"wa": (6, 4, 3, 3), "ba": (6,)}, id="convolution"
    ),
    pytest.param(
        "a = Conv<group=2, strides=[2,2]>(x, wa, ba)",
        "1,6,4,4", {"wa": (6, 2, 2, 2), "ba": (6,)}, id="groups",
    ),
    pytest.param("a = Conv<group=4>(x, wa)", "1,8,6,6", {"wa": (8, 1, 3, 3)}, id="depthwise"),
    pytest.param(
        "p = GlobalAveragePool(x)  f = Flatten(p)  a = Gemm<transB=1>(f, wa, ba)",
        "1,6", {"wa": (6, 4), "ba": (6,)}, id="gemm",
    ),
    pytest.param("q = MatMul(x, wa)  a = Add(q, ba)", "1,4,8,5", {"wa": (8, 5), "ba": (5,)}, id="rows"),
]  # fmt: skip


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {n: (random.standard_normal(s) / 3).astype(np.float32) for n, s in shapes.items()}


def inputs(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def pairs(program: Program, given: np.ndarray) -> Pairs:
    run = Runner(program)
    return Pairs(given, np.concatenate([run({"x": one[None]})["y"] for one in given]))


@pytest.mark.parametrize(("layer", "size", "shapes"), PARTS)
def test_weights_that_were_disturbed_are_found_again(
    build: Build, layer: str, size: str, shapes: dict[str, tuple[int, ...]]
) -> None:
    """Behind a bend, so that steps are repeated; each kind of layer is divided by its own curvature."""
    text = f"net (float[1,4,8,8] x) => (float[{size}] y) {{ {layer}  y = Tanh(a) }}"
    weights = random_weights(shapes, 1)
    program = build(text, **weights)
    noise = random_weights(shapes, 2)
    other = build(text, **{n: a + 0.3 * noise[n] for n, a in weights.items()})
    data, unseen = pairs(program, inputs(96, 4, 8, 8)), pairs(program, inputs(16, 4, 8, 8, seed=1))
    found = newton.fit(other, "x", "y", data, unseen)
    assert set(found) == set(weights)
    before = np.square(pairs(other, unseen.given).wanted - unseen.wanted).mean()
    for name, array in found.items():
        other.graph.initializers[name].const_value = oir.tensor(array, name=name)
    after = np.square(pairs(other, unseen.given).wanted - unseen.wanted).mean()
    # The damping of a thousandth leaves about as much of the error of a linear part, and there is a bend.
    assert after < 0.01 * before


def test_nothing_changes_where_nothing_is_missing(build: Build) -> None:
    program = build(
        "net (float[1,4,8,8] x) => (float[1,6,6,6] y) { a = Conv(x, wa)  y = Relu(a) }",
        **random_weights({"wa": (6, 4, 3, 3)}, 0),
    )
    data = pairs(program, inputs(8, 4, 8, 8))
    assert newton.fit(program, "x", "y", data, data) == {}


def test_a_step_that_does_not_help_on_held_out_samples_is_not_taken(build: Build) -> None:
    program = build(
        "net (float[1,4,8,8] x) => (float[1,6,6,6] y) { a = Conv(x, wa)  y = Relu(a) }",
        **random_weights({"wa": (6, 4, 3, 3)}, 0),
    )
    data = pairs(program, inputs(8, 4, 8, 8))
    wrong = Pairs(data.given, np.ascontiguousarray(data.wanted[::-1]) + 1)
    assert newton.fit(program, "x", "y", wrong, Pairs(data.given, data.wanted * 1.001)) == {}


def pruned(program: Program, data: Path, **options: Any) -> Program:
    item = Prune(ratio=0.4, calibration=data, **options)
    item.check_before(program)
    return item.run(program.copy(), Context())


def test_a_block_is_nearer_to_the_original_than_its_layers_one_by_one(build: Build, save: Save) -> None:
    shapes = {"wa": (8, 3, 3, 3), "ba": (8,), "wb": (12, 8, 3, 3), "wc": (8, 12, 3, 3), "wd": (8, 4)}
    program, data = build(NET, **random_weights(shapes, 3)), save(x=inputs(128, 3, 8, 8))
    groups = rules.groups(program)
    counts = [4 if len(group.channels) == 12 else 0 for group in groups]  # those inside of the block
    dataset = load(data, program.inputs, None)
    orders = [choose.by_magnitude(group, 2) for group in groups]
    shop = Workshop(program, groups, orders, dataset, None, "none", Context())
    errors = []
    for together in (False, True):
        found = replace(shop, blocks=together).attempt(counts).program
        first, second = Runner(program, ["u"]), Runner(found, ["u"])
        unseen = [{"x": one[None]} for one in inputs(64, 3, 8, 8, seed=9)]
        errors.append(np.mean([np.square(first(s)["u"] - second(s)["u"]).mean() for s in unseen]))
    assert 0 < errors[1] < 0.8 * errors[0]


def test_blocks_are_refitted_by_default(build: Build, save: Save) -> None:
    shapes = {"wa": (8, 3, 3, 3), "ba": (8,), "wb": (12, 8, 3, 3), "wc": (8, 12, 3, 3), "wd": (8, 4)}
    program, data = build(NET, **random_weights(shapes, 3)), save(x=inputs(32, 3, 8, 8))
    found = {refit: pruned(program, data, refit=refit).bytes() for refit in ("auto", "whole", "layers")}
    assert found["auto"] == found["whole"] != found["layers"]


def test_a_block_that_cannot_be_differentiated_stays_as_it_was(build: Build, save: Save) -> None:
    shapes = {"wa": (8, 3, 3, 3), "ba": (8,), "wb": (12, 8, 3, 3), "wc": (8, 12, 3, 3), "wd": (8, 4)}
    text = NET.replace("s = Relu(b)", "s = Celu(b)").replace("r = Relu(a)", "r = Celu(a)")
    program, data = build(text, **random_weights(shapes, 3)), save(x=inputs(32, 3, 8, 8))
    layers, both = (pruned(program, data, refit=r) for r in ("layers", "blocks"))
    for name in ("wa", "wb", "wc"):
        first, second = (p.graph.initializers[name].const_value for p in (layers, both))
        assert first is not None
        assert second is not None
        assert np.array_equal(first.numpy(), second.numpy())


def test_without_torch_layers_are_refitted_and_blocks_are_an_error(
    build: Build, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = {"wa": (8, 3, 3, 3), "ba": (8,), "wb": (12, 8, 3, 3), "wc": (8, 12, 3, 3), "wd": (8, 4)}
    program, data = build(NET, **random_weights(shapes, 3)), save(x=inputs(32, 3, 8, 8))
    layers = pruned(program, data, refit="layers").bytes()
    monkeypatch.setitem(sys.modules, "torch", None)
    assert pruned(program, data).bytes() == layers
    with pytest.raises(UsageError, match="PyTorch"):
        pruned(program, data, refit="blocks")


def test_large_networks_are_left_to_their_layers(build: Build) -> None:
    text = "net (float[1,64,{0},{0}] x) => (float[1,64,{0},{0}] y) {{ y = Conv<pads=[1,1,1,1]>(x, w) }}"
    weights = random_weights({"w": (64, 64, 3, 3)}, 0)
    small, large = (build(text.format(side), **weights) for side in (32, 128))  # 38 and 604 million
    assert blocks.is_quick(small)
    assert not blocks.is_quick(large)
