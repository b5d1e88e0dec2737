"""``edgecut prune`` and the compression of ``edgecut build`` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from .conftest import CALIBRATION, FIXTURES, MODEL, Edgecut

IMAGE = ("--image", "input", "--mean", "127.5", "--std", "127.5")
DATA = (*IMAGE, "--calibration", CALIBRATION)
BUILD = ("--edge", "raspberrypi4", "--cloud", "nvidia-a10", "--network", "wifi")


def kernels(path: Path) -> list[np.ndarray]:
    arrays = [numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer]
    return [a for a in arrays if a.ndim == 4 and a.shape[1] % 4 == 0]


def is_sparse(kernel: np.ndarray) -> bool:
    fours = kernel.reshape(kernel.shape[0], -1, 4, *kernel.shape[2:])
    return bool((np.count_nonzero(fours, axis=2) <= 2).all())


def test_operations_saved(edgecut: Edgecut, tmp_path: Path) -> None:
    arguments = (*DATA, "--macs", "0.2", "--min-agreement", "0.8", "--json", "-o", tmp_path / "p.onnx")
    found = edgecut("prune", MODEL, *arguments)
    assert found.returncode == 0, found.stderr
    data = json.loads(found.stdout)
    assert 0.6 < data["macs"] / data["macs_before"] <= 0.8
    assert data["agreement"] >= 0.8
    assert [step["step"] for step in data["steps"]] == ["before", "prune"]


@pytest.mark.parametrize("more", [(), ("--finetune",)])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.full((8, 1, 32, 32), np.nan, np.float32), "sample 0 has NaN"),
        (np.zeros((8, 1, 16, 16), np.float32), "but the input 'input' takes"),
        (np.zeros((0, 1, 32, 32), np.float32), "no samples"),
        (np.zeros((2, 1, 32, 32), np.float32), "too few"),
    ],
)
def test_data_that_nothing_can_be_refitted_to(
    edgecut: Edgecut, tmp_path: Path, data: np.ndarray, says: str, more: tuple[str, ...]
) -> None:
    if more:
        pytest.importorskip("torch")
    np.savez(tmp_path / "data.npz", allow_pickle=False, input=data)
    arguments = ("--macs", "0.2", *more, "--calibration", tmp_path / "data.npz", "-o", tmp_path / "p.onnx")
    found = edgecut("prune", MODEL, *arguments)
    assert found.returncode == 1
    assert says in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "p.onnx").exists()


def test_speed_and_size_as_asked_for(edgecut: Edgecut, tmp_path: Path) -> None:
    arguments = (*IMAGE, "--edge", "raspberrypi4", "--json", "-o", tmp_path / "p.onnx")
    found = edgecut("prune", MODEL, *arguments, "--speedup", "1.2")
    assert found.returncode == 0, found.stderr
    steps = json.loads(found.stdout)["steps"]
    assert steps[0]["edge"]["seconds"] >= 1.2 * steps[-1]["edge"]["seconds"]
    found = edgecut("prune", MODEL, *arguments, "--size", "0.3")
    assert found.returncode == 0, found.stderr
    steps = json.loads(found.stdout)["steps"]
    assert steps[-1]["weight_bytes"] <= 0.7 * steps[0]["weight_bytes"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ratio", "0.9", "--min-agreement", "1"),
        ("--ratio", "0.9", "--max-accuracy-drop", "0"),
        ("--min-sqnr", "150"),
        ("--sparsity", "2:4", "--cloud", "nvidia-a10", "--min-sqnr", "150"),
    ],
)
def test_a_budget_out_of_reach_leaves_nothing(
    edgecut: Edgecut, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    output = tmp_path / "p.onnx"
    output.write_bytes(b"from before")
    found = edgecut("prune", MODEL, *DATA, *arguments, "-o", output)
    assert found.returncode == 1, found.stderr
    assert "budget" in found.stderr
    assert "nothing was changed" in found.stderr
    assert output.read_bytes() == b"from before"
    found = edgecut("prune", MODEL, *DATA, *arguments, "--best-effort", "-o", output)
    assert found.returncode == 0, found.stderr
    assert "budget" in found.stderr
    onnx.checker.check_model(output)


def test_nothing_said_of_how_much(edgecut: Edgecut, tmp_path: Path) -> None:
    found = edgecut("prune", MODEL, *DATA, "-o", tmp_path / "p.onnx")
    assert found.returncode == 2
    assert "--sparsity" in found.stderr


def test_sparse_after_pruning(edgecut: Edgecut, tmp_path: Path) -> None:
    output = tmp_path / "p.onnx"
    goals = ("--ratio", "0.2", "--multiple", "4", "--sparsity", "2:4", "--cloud", "nvidia-a10")
    found = edgecut("prune", MODEL, *DATA, *goals, "--json", "-o", output)
    assert found.returncode == 0, found.stderr
    assert [s["step"] for s in json.loads(found.stdout)["steps"]] == ["before", "prune", "sparsify"]
    assert kernels(output)
    assert all(map(is_sparse, kernels(output)))


def test_sparse_alone_keeps_its_channels(edgecut: Edgecut, tmp_path: Path) -> None:
    output = tmp_path / "p.onnx"
    arguments = ("--sparsity", "2:4", "--cloud", "nvidia-a10", "--min-agreement", "0.5", "--json")
    found = edgecut("prune", MODEL, *DATA, *arguments, "-o", output)
    assert found.returncode == 0, found.stderr
    data = json.loads(found.stdout)
    assert data["macs"] == data["macs_before"]
    assert all(map(is_sparse, kernels(output)))


def test_a_sparse_build_is_checked_as_one_that_was_changed(edgecut: Edgecut, tmp_path: Path) -> None:
    """Its float errors are those asked for; both artifacts have the zeros."""
    folder = tmp_path / "build"
    found = edgecut("build", MODEL, *DATA, *BUILD, "--sparsity", "2:4", "--quantize", "none", "-o", folder)
    assert found.returncode == 0, found.stderr
    found = edgecut("check", folder, "--data", FIXTURES / "digits_test.npz")
    assert found.returncode == 0, found.stderr
    (cloud,) = (folder / "cloud").glob("*_cut*/1/model.onnx")
    graph = onnx.load(cloud, load_external_data=False).graph
    weights = {i.name: i for i in graph.initializer if len(i.dims) == 4 and i.dims[1] % 4 == 0}
    assert len(weights) == 8
    for item in weights.values():
        where = {entry.key: entry.value for entry in item.external_data}
        # onnx itself does not follow the hard links by which cuts share one file.
        data = (cloud.parent / where["location"]).read_bytes() if where else item.raw_data
        start = int(where.get("offset", 0))
        count = int(np.prod(item.dims))
        assert is_sparse(np.frombuffer(data, np.float32, count, start).reshape(tuple(item.dims)))


@pytest.mark.parametrize("server", [(), ("--cloud", "nvidia-t4")])
def test_sparse_for_a_server_that_has_no_use_for_it(
    edgecut: Edgecut, tmp_path: Path, server: tuple[str, ...]
) -> None:
    found = edgecut("prune", MODEL, *IMAGE, "--sparsity", "2:4", *server, "-o", tmp_path / "p.onnx")
    assert found.returncode == 2
    assert "nvidia-a10" in found.stderr
    assert not (tmp_path / "p.onnx").exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "no such file"),
        (np.full((8, 1, 32, 32), np.nan, np.float32), "sample 0 has NaN"),
        (np.zeros((8, 1, 16, 16), np.float32), "but the input 'input' takes"),
        (np.zeros((0, 1, 32, 32), np.float32), "no samples"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--finetune",)])
def test_more_inputs_that_are_wrong(
    edgecut: Edgecut, tmp_path: Path, data: np.ndarray | None, says: str, more: tuple[str, ...]
) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "more.npy"
    if data is not None:
        np.save(path, data)
    good = tmp_path / "good.npy"
    np.save(good, np.random.default_rng(0).random((16, 1, 32, 32), np.float32))
    inputs = ("--calibration", good, "--unlabelled", path, *more)
    found = edgecut("prune", MODEL, "--macs", "0.2", *inputs, "-o", tmp_path / "p.onnx")
    assert (found.returncode, len(found.stderr.strip().splitlines())) == (1, 1)
    assert says in found.stderr
    assert not (tmp_path / "p.onnx").exists()


def test_finetuned(edgecut: Edgecut, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    arguments = ("--ratio", "0.3", "--finetune", "--epochs", "3", "--min-agreement", "0.5", "--json")
    found = edgecut("prune", MODEL, *DATA, *arguments, "-o", tmp_path / "p.onnx")
    assert found.returncode == 0, found.stderr
    steps = json.loads(found.stdout)["steps"]
    assert [step["step"] for step in steps] == ["before", "prune", "finetune"]
    # The best weights are kept, those it began with among them.
    assert steps[2]["sqnr_db"] >= steps[1]["sqnr_db"] - 0.5


def test_what_build_makes_of_the_flags(edgecut: Edgecut) -> None:
    goals = ("--prune-macs", "0.3", "--finetune", "--sparsity", "2:4", "--min-agreement", "0.9")
    inputs = ("--augment", "flip", "--unlabelled", "more.npz")
    found = edgecut("build", MODEL, *DATA, *BUILD, *goals, *inputs, "--best-effort", "--print-pipeline")
    assert found.returncode == 0, found.stderr
    text = found.stdout
    order = [text.index(f",{name}{{") for name in ("prune", "finetune", "sparsify", "quantize", "partition")]
    assert order == sorted(order)
    for step in (text[order[0] : order[1]], text[order[1] : order[2]]):
        assert all(word in step for word in ("augment=flip", "unlabelled=more.npz"))
    sparsify = text[order[2] : order[3]]
    assert all(word in sparsify for word in ("cloud=nvidia-a10", "min_agreement=0.9", "best_effort=true"))


def test_a_build_whose_budget_is_out_of_reach_is_none(edgecut: Edgecut, tmp_path: Path) -> None:
    arguments = (*DATA, *BUILD, "--prune", "0.9", "--min-agreement", "0.999", "-o", tmp_path / "build")
    found = edgecut("build", MODEL, *arguments)
    assert found.returncode == 1
    assert "nothing was changed" in found.stderr
    assert not (tmp_path / "build").exists()


def test_a_sparse_build(edgecut: Edgecut, tmp_path: Path) -> None:
    goals = ("--sparsity", "2:4", "--quantize", "none", "--min-agreement", "0.5", "--cut", "relu_4")
    found = edgecut("build", MODEL, *DATA, *BUILD, *goals, "-o", tmp_path / "build")
    assert found.returncode == 0, found.stderr
    assert "sparsify" in found.stdout
    assert "--sparsity=enable" in (tmp_path / "build" / "cloud" / "tensorrt.sh").read_text()
