"""The server on a real local Ray cluster. Needs the extra `ray`, which is large: not among the tests' own."""

from __future__ import annotations

import http.client
import importlib.util
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.runtime.device import Device

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'edgecut[ray]'"
)


def metrics(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def test_replicas_answer_as_one_server_does(
    cloud_build: Path, digits: Any, truth: np.ndarray, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "edgecut", "serve", str(cloud_build), "--port", str(port)]
    options = ["--engine", "ray", "--replicas", "2"]
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen([*command, *options], stderr=err, stdout=subprocess.PIPE)
        try:
            wait_for(tmp_path / "err", "listening", process)
            device = Device(cloud_build, server=f"http://127.0.0.1:{port}")
            for image, expected in zip(digits.images, truth, strict=False):
                answer = device.run({"input": image})
                # Float32 noise between ONNX Runtime's fusions of the whole model and of its copy.
                np.testing.assert_allclose(answer.outputs["logits"], expected, rtol=1e-5, atol=1e-5)
            # Each replica counts for itself: one that answered all would always tell the same.
            assert len({metrics(port) for _ in range(20)}) == 2
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, (tmp_path / "err").read_text()
        finally:
            process.kill()


def wait_for(path: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    import time

    deadline = time.monotonic() + 120
    while text not in path.read_text() and time.monotonic() < deadline:
        assert process.poll() is None, path.read_text()
        time.sleep(0.1)
    assert text in path.read_text()
