"""The server, asked over real HTTP as a stranger would ask it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from edgecut.runtime import serving, wire

MODEL = "/v2/models/digits_cut0"
Answer = tuple[int, dict[str, str], bytes]


def ask(
    url: str, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(method, path, body or None, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def infer(url: str, request: wire.Request, **kwargs: Any) -> Answer:
    encoded = wire.encode_request(request, **kwargs)
    return ask(url, "POST", f"{MODEL}/infer", encoded.body, encoded.headers)


def error(answer: Answer) -> str:
    text = json.loads(answer[2])["error"]
    assert isinstance(text, str)
    return text


@pytest.fixture
def image(digits: Any) -> np.ndarray:
    found: np.ndarray = digits.images[0]
    return found


@pytest.mark.parametrize("path", ["/v2", "/v2/health/live", "/v2/health/ready", f"{MODEL}/ready"])
def test_health_and_metadata_answer(cloud_url: str, path: str) -> None:
    assert ask(cloud_url, "GET", path)[0] == 200


def test_model_metadata_describes_what_the_model_takes_and_gives(cloud_url: str) -> None:
    for path in (MODEL, f"{MODEL}/versions/1"):
        found = json.loads(ask(cloud_url, "GET", path)[2])
        assert found["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [1, 1, 32, 32]}]
        assert found["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [1, 10]}]


def test_index_lists_the_models(cloud_url: str) -> None:
    found = json.loads(ask(cloud_url, "POST", "/v2/repository/index")[2])
    assert [m["name"] for m in found] == ["digits_cut0"]


@pytest.mark.parametrize("send_binary", [True, False])
@pytest.mark.parametrize("get_binary", [True, False])
def test_answer_is_the_models_in_every_form(
    cloud_url: str, image: np.ndarray, truth: np.ndarray, send_binary: bool, get_binary: bool
) -> None:
    request = wire.Request({"input": image}, "abc", binary=get_binary)
    status, headers, body = infer(cloud_url, request, binary=send_binary)
    assert status == 200
    length = headers.get(wire.LENGTH_HEADER.lower(), headers.get(wire.LENGTH_HEADER))
    assert (length is not None) == get_binary
    found = wire.decode_response(body, wire.header_length(length))
    assert (found.model, found.version, found.id) == ("digits_cut0", "1", "abc")
    assert found.parameters[wire.QUEUE_S] >= 0
    assert found.parameters[wire.COMPUTE_S] > 0
    # The same operators on the same numbers; only ONNX Runtime's fusions may differ between the models.
    np.testing.assert_allclose(found.tensors["logits"], truth[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/unknown", 404),
        ("GET", f"{MODEL}/versions/2", 404),
        ("POST", "/v2/models/unknown/infer", 404),
        ("GET", "/v2/models/..%2f..%2fetc/ready", 404),
        ("GET", "/nothing", 404),
        ("GET", f"{MODEL}/infer", 405),
        ("POST", f"{MODEL}/infer", 400),
    ],
)
def test_wrong_requests_get_an_error_object(cloud_url: str, method: str, path: str, status: int) -> None:
    answer = ask(cloud_url, method, path)
    assert answer[0] == status
    assert error(answer)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"x": np.zeros((1, 1, 32, 32), np.float32)}, "takes the inputs input"),
        (
            {"input": np.zeros((1, 1, 32, 31), np.float32)},
            r"FP32 \[1, 1, 32, 31\], not FP32 \[1, 1, 32, 32\]",
        ),
        ({"input": np.zeros((1, 1, 32, 32), np.float64)}, "is FP64"),
        ({}, "takes the inputs"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    cloud_url: str, tensors: dict[str, np.ndarray], reason: str
) -> None:
    answer = infer(cloud_url, wire.Request(tensors))
    assert answer[0] == 400
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(error(answer))


def test_unknown_output_other_build_and_compression_are_refused(cloud_url: str, image: np.ndarray) -> None:
    assert infer(cloud_url, wire.Request({"input": image}, outputs={"nope": True}))[0] == 400
    other = {"edgecut_artifact": "0" * 64}
    assert infer(cloud_url, wire.Request({"input": image}, parameters=other))[0] == 409
    encoded = wire.encode_request(wire.Request({"input": image}))
    headers = {**encoded.headers, "Content-Encoding": "gzip"}
    assert ask(cloud_url, "POST", f"{MODEL}/infer", encoded.body, headers)[0] == 415


def test_numbers_that_json_cannot_hold_are_the_clients_error(cloud_url: str) -> None:
    huge = np.full((1, 1, 32, 32), 3e38, np.float32)
    assert infer(cloud_url, wire.Request({"input": huge}))[0] == 400
    assert infer(cloud_url, wire.Request({"input": huge}, binary=True))[0] == 200


def test_body_over_the_limit_is_refused_whatever_its_declared_length(cloud_build: Path) -> None:
    with serving.background([cloud_build], serving.Settings(max_body=1000)) as url:
        assert ask(url, "POST", f"{MODEL}/infer", b"x" * 1001)[0] == 413
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        connection.request("POST", f"{MODEL}/infer", iter([b"x" * 600, b"x" * 600]), encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})  # fmt: skip
        assert connection.getresponse().status == 413
        connection.close()


def test_changed_artifact_is_not_served(cloud_build: Path, tmp_path: Path, image: np.ndarray) -> None:
    build = tmp_path / "build"
    shutil.copytree(cloud_build, build)
    model = build / "cloud" / "digits_cut0" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with serving.background([build]) as url:
        answer = infer(url, wire.Request({"input": image}))
    assert answer[0] == 500
    assert "differs from its hash" in error(answer)


def start(build: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "edgecut", "serve", str(build), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    return process, line.strip().rsplit(" ", 1)[-1]


def test_command_serves_and_ends_cleanly_on_sigterm(cloud_build: Path, image: np.ndarray) -> None:
    process, url = start(cloud_build, "--port", "0")
    try:
        assert url.startswith("http://127.0.0.1:")
        assert infer(url, wire.Request({"input": image}))[0] == 200
    finally:
        process.send_signal(signal.SIGTERM)
        _, talk = process.communicate(timeout=30)
    assert process.returncode == 0
    assert talk == ""


def test_taken_port_is_one_clear_line(cloud_build: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "edgecut", "serve", str(cloud_build), "--port", port]
        found = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert found.returncode == 3
    assert found.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}: cannot listen" in found.stderr
