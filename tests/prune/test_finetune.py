"""The pass finetune: what pruning lost is taught again, by the original and without labels."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir
import pytest

from edgecut.ir import annotations, store
from edgecut.ir.annotations import Reference
from edgecut.ir.errors import ConstraintError, ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.finetune import module, teacher
from edgecut.passes.finetune.finetune import Finetune
from edgecut.passes.numerics import Runner, compare
from edgecut.passes.prune.channels import Prune

pytest.importorskip("torch")

Build = Callable[..., Program]
Save = Callable[..., Path]
NET = """net (float[1,3,8,8] x) => (float[1,4] y)
{ a = Conv<pads=[0,0,1,1], strides=[2,2]>(x, wa, ba)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, wb)
  s = Add(r, b)  p = GlobalAveragePool(s)  f = Flatten(p)  g = Gemm(f, wc)  y = Softmax(g) }"""


def network(build: Build) -> Program:
    rng = np.random.default_rng(1)

    def weight(*shape: int) -> np.ndarray:
        return np.asarray(rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])), np.float32)

    program = build(NET, wa=weight(8, 3, 3, 3), ba=weight(8), wb=weight(8, 8, 3, 3), wc=5 * weight(8, 4))
    annotations.put(program.model, Reference(store.put(program)))
    return program


@pytest.fixture
def data(save: Save) -> Path:
    return save(x=np.random.default_rng(2).standard_normal((64, 3, 8, 8)).astype(np.float32))


def unseen() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    return [{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(32)]


def finetuned(program: Program, **options: Any) -> tuple[Program, Context]:
    context = Context()
    item = Finetune(**options)
    item.check_before(program)
    return item.run(program.copy(), context), context


def test_it_recovers_what_pruning_lost_on_inputs_it_has_not_seen(build: Build, data: Path) -> None:
    program = network(build)
    pruned = Prune(ratio=0.25).run(program.copy(), Context())
    found, context = finetuned(pruned, calibration=data, epochs=15, learning_rate=0.01)
    before, after = compare(program, pruned, unseen()), compare(program, found, unseen())
    # From 9 to 14 dB; half of that tells learning from luck.
    assert after.sqnr_db > before.sqnr_db + 2.5
    assert context.metrics["judged_on"] == 16
    assert found.outputs == program.outputs


def test_the_same_seed_gives_the_same_weights(build: Build, data: Path) -> None:
    pruned = Prune(ratio=0.25).run(network(build), Context())
    first, second = (finetuned(pruned, calibration=data, epochs=2)[0].bytes() for _ in range(2))
    assert first == second


def test_an_interrupted_training_goes_on_where_it_was(build: Build, data: Path, tmp_path: Path) -> None:
    pruned = Prune(ratio=0.25).run(network(build), Context())
    whole, _ = finetuned(pruned, calibration=data, epochs=4)
    point = tmp_path / "training.pt"

    class Stop(Exception):  # noqa: N818
        pass

    class Impatient:
        """A progress bar behind which somebody presses control-C after two epochs."""

        def task(self, description: str, total: int) -> Any:
            import contextlib

            seen = []

            def advance() -> None:
                seen.append(1)
                if len(seen) == 2:
                    raise Stop

            return contextlib.nullcontext(advance)

    item = Finetune(calibration=data, epochs=4, checkpoint=point)
    with pytest.raises(Stop):
        item.run(pruned.copy(), Context(progress=Impatient()))
    found, context = finetuned(pruned, calibration=data, epochs=4, checkpoint=point)
    assert found.bytes() == whole.bytes()
    assert context.metrics["epochs"] == 4
    with pytest.raises(UsageError, match="other settings"):
        finetuned(pruned, calibration=data, epochs=5, checkpoint=point)


def test_it_ends_early_and_never_leaves_it_worse(build: Build, data: Path) -> None:
    program = network(build)
    pruned = Prune(ratio=0.25).run(program.copy(), Context())
    found, context = finetuned(pruned, calibration=data, epochs=30, patience=2, learning_rate=30.0)
    assert int(context.metrics["epochs"]) < 30
    assert compare(program, found, unseen()).sqnr_db >= compare(program, pruned, unseen()).sqnr_db - 1


def test_a_budget_that_is_missed_is_an_error(build: Build, data: Path) -> None:
    pruned = Prune(ratio=0.5).run(network(build), Context())
    with pytest.raises(ConstraintError, match="cannot be met"):
        finetuned(pruned, calibration=data, epochs=1, min_sqnr=90.0)


def test_an_operator_without_a_gradient_is_named(build: Build, save: Save) -> None:
    text = "net (float[1,4] x) => (float[1,4] y) { h = MatMul(x, w)  y = Hardmax(h) }"
    path = save(x=np.ones((8, 4), np.float32))
    with pytest.raises(ModelError, match="Hardmax"):
        finetuned(build(text, w=np.eye(4, dtype=np.float32)), calibration=path, epochs=1)


def test_without_torch_the_extra_is_named(build: Build, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match="PyTorch") as caught:
        Finetune(calibration=data).check_before(network(build))
    assert "edgecut[torch]" in str(caught.value)


def test_torch_is_used_on_one_thread() -> None:
    """More have ended the process in the middle of pruning, and sums would hang on the number of cores."""
    import torch

    torch.set_num_threads(2)
    assert module.require_torch().get_num_threads() == 1


def test_torch_computes_what_onnx_runtime_does(build: Build) -> None:
    """Operators in the forms that trained networks use; each is compared by itself."""
    rng = np.random.default_rng(0)
    four = "net (float[1,4,6,6] x) => (float[1,{c},{h},{h}] y) {{ {body} }}"
    cases = {
        "y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[0,0,1,1]>(x)": (4, 3),
        "y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x)": (4, 3),
        "y = Conv<group=4, pads=[2,2,1,1], dilations=[2,2]>(x, dw)": (4, 5),
        "h = HardSwish(x)  y = HardSigmoid<alpha=0.3>(h)": (4, 6),
        "y = ConvTranspose<strides=[2,2]>(x, t)": (2, 12),
        "h = LeakyRelu<alpha=0.2>(x)  y = Clip(h, low, high)": (4, 6),
        "y = Slice(x, one, five, axes, two)": (4, 2),
        "m = ReduceMean<axes=[2,3]>(x)  y = Sub(x, m)": (4, 6),
        "a, b = Split<axis=1>(x)  e = Elu(a)  y = Concat<axis=1>(b, e)": (4, 6),
    }
    constants = {
        "dw": rng.standard_normal((4, 1, 3, 3)).astype(np.float32),
        "t": rng.standard_normal((4, 2, 2, 2)).astype(np.float32),
        "low": np.float32(-0.5), "high": np.float32(0.7), "one": np.array([1], np.int64),
        "five": np.array([5], np.int64), "two": np.array([2], np.int64), "axes": np.array([2], np.int64),
    }  # fmt: skip
    x = rng.standard_normal((1, 4, 6, 6)).astype(np.float32)
    for body, (channels, size) in cases.items():
        if "Slice" in body:
            body = f"s = {body[4:]}  y = Transpose<perm=[0,1,3,2]>(s)"
        text = four.format(c=channels, h=size, body=body)
        if "Slice" in body:
            text = text.replace("float[1,4,2,2] y", "float[1,4,6,2] y")
        program = build(
            text,
            **{n: a for n, a in constants.items() if n in body.replace(",", " ").replace(")", " ").split()},
        )
        one = np.ones(1, np.float32)
        program.graph.register_initializer(_spare(one))
        module.Trainable(program, ["y"]).check({"x": x})


@pytest.mark.parametrize(
    ("text", "inputs", "whole"),
    [
        pytest.param(NET, {"x": (1, 3, 8, 8)}, True, id="convolutions"),
        pytest.param(
            "net (float[1,4,6] x) => (float[4,2] y) { s = Squeeze(x, zero)  y = MatMul(s, w) }",
            {"x": (1, 4, 6)}, False, id="no axis of the batch is left",
        ),
        pytest.param(
            "net (float[4,6] x) => (float[4,2] y) { y = MatMul(x, w) }",
            {"x": (4, 6)}, False, id="rows of one sample",
        ),
    ],
)  # fmt: skip
def test_a_batch_gives_what_its_samples_give(
    build: Build, text: str, inputs: dict[str, tuple[int, ...]], whole: bool
) -> None:
    """Whether it goes through as a whole, which is faster, or sample by sample."""
    import torch

    rng = np.random.default_rng(0)
    if whole:
        program = network(build)
    else:
        weight = rng.standard_normal((6, 2)).astype(np.float32)
        zero = {"zero": np.array([0], np.int64)} if "zero" in text else {}
        program = build(text, w=weight, **zero)
    samples = [{n: rng.standard_normal(s).astype(np.float32) for n, s in inputs.items()} for _ in range(5)]
    trained = module.Trainable(program, ["y"])
    trained.check(samples[0])
    with torch.no_grad():
        (found,) = trained({n: torch.from_numpy(np.stack([s[n] for s in samples])) for n in inputs})
    run = Runner(program)
    expected = np.stack([run(sample)["y"] for sample in samples])
    # float32 sums in another order.
    assert np.allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert trained.takes_batches is whole


def test_the_original_answers_in_torch_where_torch_can(build: Build) -> None:
    """It is asked in every step; ONNX Runtime answers where torch has no batches or no such operator."""
    import torch

    samples = [sample["x"] for sample in unseen()]
    program = network(build)
    quick = teacher.as_module(program, ["y"], {"x": samples[0]})
    assert quick is not None
    (found,) = quick({"x": torch.from_numpy(np.stack(samples))})
    (expected,) = teacher.Teacher(["y"], [False], Runner(program))({"x": np.stack(samples)})
    # float32 sums in another order.
    assert np.allclose(found.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    hard = build(
        "net (float[1,4] x) => (float[1,4] y) { h = MatMul(x, w)  y = Hardmax(h) }",
        w=np.eye(4, dtype=np.float32),
    )
    assert teacher.as_module(hard, ["y"], {"x": np.ones((1, 4), np.float32)}) is None


def _spare(array: np.ndarray) -> Any:
    """A weight that is always there, since a program without any cannot be trained."""
    import onnx_ir as oir

    return oir.val("spare", const_value=oir.tensor(np.concatenate([array, array]), name="spare"))


def test_more_inputs_teach_what_the_data_do_not_show(build: Build, save: Save, tmp_path: Path) -> None:
    """A channel that is always dark in the data, and whose weights are lost."""
    program = network(build)
    lost = program.copy()
    value = lost.graph.initializers["wa"]
    assert value.const_value is not None
    weight = value.const_value.numpy() * np.array([0.8, 0.8, 0], np.float32)[:, None, None]
    value.const_value = oir.tensor(weight, name="wa")
    images = np.random.default_rng(4).standard_normal((2, 64, 3, 8, 8)).astype(np.float32)
    dark, bright = (np.array(tone, np.float32)[:, None, None] for tone in ([1, 1, 0], [1, 1, 5]))
    more = tmp_path / "more.npy"
    np.save(more, images[1] * bright)
    options = {
        "calibration": save(x=images[0] * dark),
        "learning_rate": 0.03,
        "batch": 8,
        "epochs": 80,
        "augment": "none",
    }
    alone, _ = finetuned(lost, **options)
    both, _ = finetuned(lost, unlabelled=more, **options)
    shown = [{"x": sample["x"] * bright} for sample in unseen()]
    first, second = (compare(program, found, shown).sqnr_db for found in (alone, both))
    # 15 and some 80 dB.
    assert second > first + 3


def test_a_checkpoint_of_other_inputs_is_refused(build: Build, data: Path, tmp_path: Path) -> None:
    pruned, point, more = (
        Prune(ratio=0.25).run(network(build), Context()),
        tmp_path / "t.pt",
        tmp_path / "m.npy",
    )
    finetuned(pruned, calibration=data, epochs=1, checkpoint=point)
    np.save(more, np.zeros((4, 3, 8, 8), np.float32))
    with pytest.raises(UsageError, match="other settings"):
        finetuned(pruned, calibration=data, epochs=1, checkpoint=point, unlabelled=more)


def test_four_samples_are_enough_to_begin(build: Build, save: Save) -> None:
    """Three to learn from, where channels are gone in between too."""
    pruned = Prune(ratio=0.25).run(network(build), Context())
    path = save(x=np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32))
    _, context = finetuned(pruned, calibration=path, epochs=2)
    assert context.metrics["judged_on"] == 1
