"""The pass sparsify: two of every four weights are zero, and the others make up for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from edgecut.ir.annotations import Profile, put
from edgecut.ir.errors import EdgecutError, ModelError, UsageError
from edgecut.ir.extract import named_cut
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.numerics import Runner, compare
from edgecut.passes.prune import fours
from edgecut.passes.prune.sparsify import Sparsify
from edgecut.targets.onnx import emit

Build = Callable[..., Program]
Save = Callable[..., Path]


def weight(*shape: int) -> np.ndarray:
    """Seeded by its shape, so that no test depends on those before it."""
    return np.asarray(normal(*shape) * np.sqrt(2 / np.prod(shape[1:])), np.float32)


def normal(*shape: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(sum(shape)).standard_normal(shape))


def sparsified(program: Program, **options: Any) -> tuple[Program, Context]:
    context = Context()
    item = Sparsify(**{"cloud": "nvidia-a10", **options})
    item.check_before(program)
    return item.run(program.copy(), context), context


def most(array: np.ndarray, axis: int) -> int:
    """The most non-zero weights in any four consecutive ones, counted as NVIDIA's guide says it."""
    flat = np.moveaxis(array, axis, 0)
    return max(int(np.count_nonzero(flat[i : i + 4], axis=0).max()) for i in range(0, len(flat), 4))


@pytest.fixture
def mixed(build: Build) -> Program:
    """Weights of all forms, and three that have to stay as they are: 3 and 6 channels, and groups."""
    text = """net (float[1,3,8,8] x) => (float[1,5] y)
    { a = Conv<pads=[1,1,1,1]>(x, first)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, wide, bias)  s = Add(r, b)
      g = Conv<group=2>(s, grouped)  t = Relu(g)  p = Conv(t, point)  q = Conv(p, six)
      m = GlobalAveragePool(q)  f = Flatten(m)  h = Gemm<transB=1>(f, across)  k = Relu(h)
      l = Gemm(k, along)  y = MatMul(l, last) }"""
    weights = {
        "first": weight(8, 3, 3, 3), "wide": weight(8, 8, 3, 3), "bias": weight(8),
        "grouped": weight(8, 4, 1, 1),
        "point": weight(6, 8, 1, 1), "six": weight(16, 6, 1, 1), "across": weight(12, 16),
        "along": weight(12, 8), "last": weight(8, 5),
    }  # fmt: skip
    return build(text, **weights)


AXES = {"wide": 1, "point": 1, "across": 1, "along": 0, "last": 0}
DENSE = {"first", "grouped", "six"}


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


@pytest.mark.parametrize("with_data", [False, True])
def test_every_weight_that_can_be_is_sparse(mixed: Program, save: Save, with_data: bool) -> None:
    path = save(x=normal(12, 3, 8, 8).astype(np.float32)) if with_data else None
    found, context = sparsified(mixed, calibration=path)
    before, after = arrays(mixed.proto()), arrays(found.proto())
    for name, axis in AXES.items():
        assert most(before[name], axis) == 4
        assert most(after[name], axis) == 2, name
        assert np.count_nonzero(after[name]) == after[name].size // 2
    assert all(np.count_nonzero(after[name]) == after[name].size for name in DENSE)
    assert context.metrics["weights"] == len(AXES)
    sizes = {name: array.size for name, array in before.items() if array.dtype == np.float32}
    assert context.metrics["share"] == pytest.approx(
        sum(sizes[n] for n in AXES) / sum(sizes.values()), abs=1e-4
    )


def test_small_layers_can_be_spared(mixed: Program) -> None:
    found, context = sparsified(mixed, min_channels=16)
    after = arrays(found.proto())
    assert [name for name in AXES if most(after[name], AXES[name]) == 2] == ["across"]
    assert context.metrics["weights"] == 1


def test_a_weight_that_others_read_otherwise_stays(build: Build) -> None:
    text = """net (float[1,8] x, int64[1] i) => (float[1,8] y, float[1,8] z)
    { a = MatMul(x, own)  y = MatMul(a, shared)  z = Gather(shared, i) }"""
    found, _ = sparsified(build(text, own=weight(8, 8), shared=weight(8, 8)))
    after = arrays(found.proto())
    assert (most(after["own"], 0), most(after["shared"], 0)) == (2, 4)


def test_the_emitted_cloud_half_is_sparse_runs_and_is_built_so(mixed: Program, tmp_path: Path) -> None:
    found, _ = sparsified(mixed)
    emit(found, [named_cut(found, "cloud-only")], {}).write(tmp_path)
    model = next(tmp_path.glob("*/1/model.onnx"))
    # onnx refuses files that are linked more than once, which those of the repository are.
    kept = arrays(onnx.load(shutil.copytree(model.parent, tmp_path / "copy") / "model.onnx"))
    assert {n for n in AXES if most(kept[n], AXES[n]) == 2} == set(AXES)
    x = {"x": normal(1, 3, 8, 8).astype(np.float32)}
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    # The same operators on the same weights: only fusions differ.
    np.testing.assert_allclose(session.run(["y"], x)[0], Runner(found)(x)["y"], rtol=1e-4, atol=1e-5)
    assert "--sparsity=enable" in (tmp_path / "tensorrt.sh").read_text()


def test_a_dense_cloud_half_is_built_as_before(mixed: Program, tmp_path: Path) -> None:
    emit(mixed, [named_cut(mixed, "cloud-only")], {}).write(tmp_path)
    assert "--sparsity" not in (tmp_path / "tensorrt.sh").read_text()


def test_compensation_on_real_data_beats_magnitude(zoo: Path, save: Save) -> None:
    model = onnx.load(zoo / "models" / "resnet8_cifar10.onnx")
    program = Program.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True))
    images = np.load(zoo / "data" / "cifar10" / "cifar10_train_calib_200.npz")["images"].astype(np.float32)
    unseen = [{"input": x[None]} for x in images[-50:]]
    blind, _ = sparsified(program)
    fitted, context = sparsified(program, calibration=save(input=images[:60]), samples=60)
    assert int(context.metrics["weights"]) == 9
    before, after = (compare(program, p, unseen).sqnr_db for p in (blind, fitted))
    # Measured: about -1 dB by magnitude and 6 to 8 dB with the refit.
    assert after > before + 4
    assert float(context.metrics["sqnr_db"]) > float(context.metrics["sqnr_db_magnitude"])


def test_elimination_leaves_the_least_squares_of_what_is_left() -> None:
    """Against the normal equations of each result's own support, solved directly."""
    rows = normal(400, 17) @ normal(17, 17)
    rows[:, -1] = 1
    dense, moments = normal(17, 6), rows.T @ rows + 0.1 * np.eye(17)
    found = fours.eliminate(dense, moments, fours.order(16, 1))
    assert most(found[:-1], 0) == 2
    for column in range(6):
        at = np.flatnonzero(found[:, column])
        best = np.linalg.solve(moments[np.ix_(at, at)], moments[at] @ dense[:, column])
        # Conjugate gradients in float64 on nine unknowns.
        np.testing.assert_allclose(found[at, column], best, rtol=1e-6, atol=1e-8)


def test_a_copy_of_a_channel_is_free(build: Build, save: Save) -> None:
    """Four inputs of which two are copies: half of the weights suffice."""
    text = "net (float[1,2] x) => (float[1,5] y) { a = MatMul(x, twice)  y = MatMul(a, last) }"
    first = weight(2, 2)
    program = build(text, twice=np.concatenate([first, first], axis=1), last=weight(4, 5))
    path = save(x=normal(32, 2).astype(np.float32))
    _, context = sparsified(program, calibration=path)
    # The least ridge tried is 1e-3 of the signal's power, which costs about its square.
    assert float(context.metrics["sqnr_db"]) > 50
    assert float(context.metrics["sqnr_db_magnitude"]) < 30


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cloud": "nvidia-t4"}, UsageError, "nvidia-t4 has no kernels.*nvidia-a10, nvidia-h200"),
        ({"cloud": "x86-vm"}, UsageError, "no kernels"),
        ({"cloud": None}, UsageError, "needs a server"),
        ({"samples": 0}, UsageError, "at least 1"),
        ({"min_channels": 64}, ModelError, "at least 64, input channels"),
    ],
)
def test_what_cannot_be(
    mixed: Program, options: dict[str, Any], error: type[EdgecutError], message: str
) -> None:
    with pytest.raises(error, match=message):
        sparsified(mixed, **options)


def test_the_profiled_server_is_asked(mixed: Program) -> None:
    put(mixed.model, Profile("raspberrypi4", "nvidia-t4"))
    with pytest.raises(UsageError, match="nvidia-t4"):
        sparsified(mixed, cloud=None)
    put(mixed.model, Profile("raspberrypi4", "nvidia-h200"))
    assert sparsified(mixed, cloud=None)[1].metrics["weights"] == len(AXES)
