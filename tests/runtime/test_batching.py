"""Requests of several devices run as one, and only where that gives each its own answer."""

from __future__ import annotations

import http.client
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecut.ir.manifest import Tensor
from edgecut.runtime import batching, serving
from edgecut.runtime.device import Device


def save(path: Path, *nodes: onnx.NodeProto) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.array([1, 4], np.int64), "shape")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


@pytest.mark.parametrize(
    ("nodes", "possible"),
    [
        ([helper.make_node("Softmax", ["x"], ["y"], axis=1)], True),
        ([helper.make_node("Reshape", ["x", "shape"], ["y"])], True),
        ([helper.make_node("Softmax", ["x"], ["y"], axis=0)], False),  # mixes the samples
        ([helper.make_node("CumSum", ["x", "zero"], ["y"]),
          helper.make_node("Constant", [], ["zero"], value_int=0)][::-1], False),
    ],
)  # fmt: skip
def test_model_that_mixes_samples_is_not_batched(
    tmp_path: Path, nodes: list[onnx.NodeProto], possible: bool
) -> None:
    path = save(tmp_path / "m.onnx", *nodes)
    single = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = batching.batched_session(path, single, [Tensor("x", "float32", (1, 4))], ort.SessionOptions())
    assert (found is not None) == possible


def test_devices_at_once_get_each_its_own_answer(cloud_build: Path, digits: Any, truth: np.ndarray) -> None:
    wrong: list[str] = []

    def ask(url: str, first: int) -> None:
        device = Device(cloud_build, server=url)
        for i in range(40):
            which = (first + i) % len(truth)
            found = device.run({"input": digits.images[which]}).outputs["logits"]
            # Kernels for other batch sizes add in another order: float32 noise.
            if not np.allclose(found, truth[which], rtol=1e-4, atol=1e-4):
                wrong.append(f"{which}: {found}")

    with serving.background([cloud_build]) as url:
        threads = [threading.Thread(target=ask, args=(url, 3 * k)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        connection.request("GET", "/metrics")
        figures = dict(
            line.rsplit(" ", 1)
            for line in connection.getresponse().read().decode().splitlines()
            if not line.startswith("#")
        )
        connection.close()
    assert wrong == []
    answered = float(figures['edgecut_requests_total{model="digits_cut0",status="200"}'])
    runs = float(figures['edgecut_batches_total{model="digits_cut0"}'])
    assert answered == 320
    assert runs < answered
