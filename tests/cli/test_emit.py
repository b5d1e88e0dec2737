"""What the edge cannot run is told with its reason, and runs in the cloud."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecut.ir import manifest

Edgecut = Callable[..., subprocess.CompletedProcess[str]]
TARGETS = ("--edge", "raspberrypi4", "--cloud", "x86-vm", "--network", "wifi")


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """Relu, Det, Sigmoid: TFLite has no determinant."""
    make, floats = onnx.helper.make_node, onnx.TensorProto.FLOAT
    nodes = [
        make("Relu", ["x"], ["a"], "r"),
        make("Det", ["a"], ["b"], "d"),
        make("Sigmoid", ["b"], ["y"], "s"),
    ]
    x = onnx.helper.make_tensor_value_info("x", floats, [1, 4, 4])
    y = onnx.helper.make_tensor_value_info("y", floats, [1])
    graph = onnx.helper.make_graph(nodes, "half", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "half.onnx")
    return tmp_path / "half.onnx"


def test_explain_gives_the_reason(edgecut: Edgecut, half: Path) -> None:
    done = edgecut("emit", half, "--explain", "--json")
    groups = {group["nodes"][0]: group.get("cloud_only") for group in json.loads(done.stdout)}
    assert groups["r"] is None
    assert "Det" in groups["d"]
    assert "Det" in edgecut("emit", half, "--explain").stdout


def test_what_the_edge_cannot_run_runs_in_the_cloud(edgecut: Edgecut, half: Path, tmp_path: Path) -> None:
    out = tmp_path / "build"
    assert edgecut("build", half, *TARGETS, "--cut", "a", "-o", out).returncode == 0
    assert "edge-only" not in {cut.name for cut in manifest.read(out).cuts}
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(5, 4, 4)).astype(np.float32))
    done = edgecut("check", out, "--data", tmp_path / "d.npz")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_cut_that_the_edge_cannot_run_names_the_node(edgecut: Edgecut, half: Path, tmp_path: Path) -> None:
    done = edgecut("build", half, *TARGETS, "--cut", "edge-only", "-o", tmp_path / "build")
    assert done.returncode in (1, 2)
    assert "Det" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "build").exists()


def test_verify_runs_every_group_of_the_file(edgecut: Edgecut, half: Path, tmp_path: Path) -> None:
    chain = 'simplify,profile{edge=raspberrypi4,cloud="x86-vm"},partition{cut=a}'
    cut = tmp_path / "cut.onnx"
    assert edgecut("opt", half, "-p", chain, "-o", cut).returncode == 0
    done = edgecut("emit", cut, "--verify", "-o", tmp_path / "build", "--json")
    assert done.returncode == 0, done.stderr
    steps = [step["text"] for step in json.loads(done.stdout)["steps"]]
    assert "emit-tflite{verify=true}" in steps
