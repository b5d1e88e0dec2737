"""The whole network refitted at once: nearer to the original's answers than its blocks one by one."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir
import pytest

from edgecut.frontends import data
from edgecut.ir import annotations, store
from edgecut.ir.annotations import Reference
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program
from edgecut.passes.base import Context, NoProgress
from edgecut.passes.divergence import Answers
from edgecut.passes.prune import blocks, together
from edgecut.passes.prune.attempt import Workshop
from edgecut.passes.prune.channels import Prune

pytest.importorskip("torch")

Build = Callable[..., Program]
Save = Callable[..., Path]
NET = """net (float[1,3,8,8] x) => (float[1,4] y)
{ a = Conv<pads=[1,1,1,1]>(x, wa, ba)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, wb, bb)  s = Add(r, b)
  t = Relu(s)  c = Conv<strides=[2,2]>(t, wc, bc)  u = Relu(c)  p = GlobalAveragePool(u)  f = Flatten(p)
  g = Gemm(f, wd, bd)  y = Softmax(g) }"""
SHAPES = {"wa": (8, 3, 3, 3), "wb": (8, 8, 3, 3), "wc": (12, 8, 3, 3), "wd": (12, 4)}
BIASES = {"ba": (8,), "bb": (8,), "bc": (12,), "bd": (4,)}


@pytest.fixture
def program(build: Build) -> Program:
    random = np.random.default_rng(3)
    weights = {n: random.standard_normal(s) / np.prod(s[1:]) ** 0.5 for n, s in SHAPES.items()}
    weights |= {n: random.standard_normal(s) / 4 for n, s in BIASES.items()}
    # Answers that differ from sample to sample.
    weights["wd"] *= 8
    found = build(NET, **{n: w.astype(np.float32) for n, w in weights.items()})
    annotations.put(found.model, Reference(store.put(found)))
    return found


def inputs(count: int, seed: int = 0) -> np.ndarray:
    """Images, as far as it matters: neighbouring pixels are alike."""
    noise = np.random.default_rng(seed).standard_normal((count, 3, 10, 10)).astype(np.float32)
    parts = [noise[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    return np.asarray(np.sum(parts, axis=0) / 3, np.float32)


def pruned(program: Program, path: Path, ratio: float = 0.25, **options: Any) -> Program:
    item = Prune(ratio=ratio, calibration=path, **options)
    item.check_before(program)
    return item.run(program.copy(), Context())


def divergence(program: Program, other: Program, changed: Callable[[np.ndarray], np.ndarray]) -> float:
    """On samples that nobody has seen; the other one sees them changed."""
    unseen = inputs(200, seed=9)
    answers = Answers.of(program, [{"x": one[None]} for one in unseen])
    seen = tuple({"x": one[None]} for one in changed(unseen))
    return Answers(answers.names, answers.softmax, seen, answers.known, answers.powers).divergence(other)


def same(images: np.ndarray) -> np.ndarray:
    return images


def test_answers_are_nearer_to_the_originals_than_with_blocks_alone(program: Program, save: Save) -> None:
    """By default too."""
    path = save(x=inputs(1024))
    found = (pruned(program, path, ratio=0.5, refit=refit) for refit in ("blocks", "auto"))
    blocks, whole = (divergence(program, one, same) for one in found)
    # By a third; half of that tells it from chance.
    assert 0 < whole < 0.8 * blocks


def test_more_inputs_of_anything_alike_help_where_there_are_few(
    program: Program, save: Save, tmp_path: Path
) -> None:
    path, more = save(x=inputs(48)), tmp_path / "more.npy"
    np.save(more, inputs(600, seed=5))
    few = divergence(program, pruned(program, path), same)
    many = divergence(program, pruned(program, path, unlabelled=more), same)
    # By a quarter.
    assert 0 < many < 0.9 * few


def test_auto_teaches_poor_images_the_answers_to_good_ones(program: Program, save: Save) -> None:
    path = save(x=inputs(256))

    def poor(images: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(4)
        tone = random.uniform(-1, 1, (len(images), 1, 1, 1)) * 0.4 * images.std()
        return np.asarray(images + tone, np.float32)

    plain, auto = (divergence(program, pruned(program, path, augment=a), poor) for a in ("flip", "auto"))
    # By an eighth.
    assert 0 < auto < 0.95 * plain


def test_the_same_data_give_the_same_weights(program: Program, save: Save) -> None:
    path = save(x=inputs(48))
    first, second = (pruned(program, path, augment="auto").bytes() for _ in range(2))
    assert first == second


def test_nothing_changes_where_nothing_is_missing(program: Program, save: Save) -> None:
    dataset = data.load(save(x=inputs(32)), program.inputs)
    copy = program.copy()
    together.refit(program, copy, dataset, "none", None, NoProgress())
    for name in SHAPES:
        first, second = (p.graph.initializers[name].const_value for p in (program, copy))
        assert first is not None
        assert second is not None
        assert np.array_equal(first.numpy(), second.numpy())


def test_an_operator_without_derivatives_leaves_the_whole_as_it_was(build: Build, save: Save) -> None:
    random = np.random.default_rng(0)
    text = "net (float[1,6] x) => (float[1,4] y) { a = MatMul(x, w)  r = Celu(a)  y = MatMul(r, v) }"
    shapes = {"w": (6, 8), "v": (8, 4)}
    program = build(text, **{n: random.standard_normal(s).astype(np.float32) for n, s in shapes.items()})
    dataset = data.load(save(x=random.standard_normal((32, 6)).astype(np.float32)), program.inputs)
    copy = program.copy()
    copy.graph.initializers["v"].const_value = oir.tensor(np.zeros((8, 4), np.float32), name="v")
    together.refit(program, copy, dataset, "none", None, NoProgress())
    value = copy.graph.initializers["v"].const_value
    assert value is not None
    assert not value.numpy().any()


def test_where_the_budget_holds_without_it_only_it_is_left_out(
    program: Program, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole that is spoilt: what was found before it is taken."""
    path = save(x=inputs(64))
    blocks = pruned(program, path, refit="blocks").bytes()
    finish = Workshop.finished

    def spoil(shop: Workshop, found: Any, unlabelled: Any) -> Any:
        whole = finish(shop, found, unlabelled)
        bias = whole.program.graph.initializers["bd"]
        bias.const_value = oir.tensor(np.full(4, 100, np.float32) * np.arange(4, dtype=np.float32), name="bd")
        assert shop.judge is not None
        return type(whole)(whole.program, whole.removed, shop.judge.quality(whole.program))

    monkeypatch.setattr(Workshop, "finished", spoil)
    assert pruned(program, path, min_agreement=0.1).bytes() == blocks


def test_without_torch_more_inputs_are_an_error(
    program: Program, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(x=inputs(16))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match="PyTorch"):
        pruned(program, path, unlabelled=path)


def test_more_inputs_that_a_large_network_is_not_refitted_to_are_told(
    program: Program, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, told = save(x=inputs(16)), list[str]()
    monkeypatch.setattr(blocks, "is_quick", lambda _: False)
    Prune(ratio=0.25, calibration=path, unlabelled=path).run(program.copy(), Context(warn=told.append))
    assert any("unlabelled is not used" in text for text in told)


@pytest.mark.parametrize("refit", ["layers", "blocks"])
def test_more_inputs_that_would_not_be_used_are_an_error(program: Program, save: Save, refit: str) -> None:
    path = save(x=inputs(16))
    with pytest.raises(UsageError, match="is used only where"):
        pruned(program, path, unlabelled=path, refit=refit)
