"""What is in a file besides its operators: names, where they came from, and each weight once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgecut.ir.extract import named_cut
from edgecut.targets import tflite

node = helper.make_node


@pytest.fixture
def network(model: Any) -> onnx.ModelProto:
    """Two convolutions with the same weights, and a product."""
    random = np.random.default_rng(0)
    constants = {
        "kernel": random.normal(size=(16, 16, 3, 3)).astype("f4"),
        "matrix": random.normal(size=(16, 10)).astype("f4"),
    }
    nodes = [
        node("Conv", ["image", "kernel"], ["one"], "conv_one", pads=[1, 1, 1, 1]),
        node("Relu", ["one"], ["two"], "relu"),
        node("Conv", ["two", "kernel"], ["three"], "conv_two", pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["three"], ["four"], "pool"),
        node("Flatten", ["four"], ["five"], "flatten"),
        node("MatMul", ["five", "matrix"], ["scores"], "head"),
    ]
    return model(nodes, {"image": [1, 16, 8, 8]}, ["scores"], constants)  # type: ignore[no-any-return]


def _read(data: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))


def test_signatures_and_tensors_have_the_names_of_the_program(tester: Any, network: onnx.ModelProto) -> None:
    test = tester(network)
    cuts = [named_cut(test.program, name) for name in ("two", "four", "edge-only")]
    file = _read(tflite.emit(test.program, cuts).data)
    assert [s.signatureKey.decode() for s in file.signatureDefs] == ["cut0", "cut1", "cut2"]
    for signature, output in zip(file.signatureDefs, ("two", "four", "scores"), strict=True):
        assert [t.name.decode() for t in signature.inputs] == ["image"]
        assert [t.name.decode() for t in signature.outputs] == [output]
        graph = file.subgraphs[signature.subgraphIndex]
        names = [t.name.decode() for t in graph.tensors]
        assert names[signature.inputs[0].tensorIndex].split("/")[-1].startswith("image")
        assert len(names) == len(set(names))


def test_weights_of_all_cuts_are_stored_once(tester: Any, network: onnx.ModelProto) -> None:
    test = tester(network)
    cuts = [named_cut(test.program, name) for name in ("two", "four", "edge-only")]
    file = _read(tflite.emit(test.program, cuts).data)
    stored = [bytes(b.data) for b in file.buffers if b.data is not None and len(b.data) > 64]
    assert max(Counter(stored).values()) == 1
    kernels = [t.buffer for g in file.subgraphs for t in g.tensors if tuple(t.shape) == (16, 3, 3, 16)]
    assert len(kernels) == 1 + 2 + 2, "one for each convolution of each signature"
    assert len(set(kernels)) == 1


def test_metadata_names_every_node_of_the_program(tester: Any, network: onnx.ModelProto) -> None:
    test = tester(network).lower()
    found = tflite.source_map(test.emitted.data)
    (operators,) = found.values()
    nodes = {name for sources in operators for name in sources}
    assert nodes == {n.name for n in test.program.nodes}
    names = {m.name.decode() for m in _read(test.emitted.data).metadata}
    assert {"edgecut.source_map", "min_runtime_version"} & names


def test_bytes_do_not_depend_on_the_process(network: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(network, tmp_path / "m.onnx")
    files = []
    for seed in ("1", "2"):  # sets of names are ordered differently
        out = tmp_path / f"{seed}.tflite"
        command = [sys.executable, "-m", "edgecut", "convert", str(tmp_path / "m.onnx"), "-o", str(out)]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed, "PATH": ""}, capture_output=True)
        files.append(out.read_bytes())
    assert files[0] == files[1]
