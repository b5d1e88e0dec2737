"""The device's executor against real servers, good and bad, on the cut that needs no edge model."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.ir import manifest
from edgecut.ir.errors import ModelError, UsageError
from edgecut.runtime import artifact
from edgecut.runtime.client import Client, CloudError
from edgecut.runtime.device import Device


def test_answers_are_the_models_over_one_connection(
    cloud_build: Path, cloud_url: str, digits: Any, truth: np.ndarray
) -> None:
    device = Device(cloud_build, server=cloud_url)
    for image, expected in zip(digits.images, truth, strict=False):
        answer = device.run({"input": image})
        # The same operators on the same numbers; only ONNX Runtime's fusions may differ.
        np.testing.assert_allclose(answer.outputs["logits"], expected, rtol=1e-5, atol=1e-5)
        assert answer.cut == "cloud-only"
        assert 4096 < answer.sent_bytes < 4096 + 500
        p = answer.phases
        parts = p.edge_s + p.encode_s + p.network_s + p.queue_s + p.compute_s + p.receive_s
        assert 0 < p.compute_s < parts <= p.total_s
    device.close()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "'input' is not given"),
        ({"input": np.zeros((1, 1, 32, 32))}, "is float64 .* takes float32"),
        ({"input": np.zeros((1, 32, 32), np.float32)}, r"is float32 \[1, 32, 32\]"),
        ({"input": np.zeros((1, 1, 32, 32), np.float32), "more": np.zeros(1)}, "no input 'more'"),
    ],
)
def test_wrong_inputs_are_refused_before_anything_is_sent(
    cloud_build: Path, inputs: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        Device(cloud_build).run(inputs)


def test_unknown_cut_names_those_there_are(cloud_build: Path, digits: Any) -> None:
    with pytest.raises(ModelError, match=r"no cut named 'x'.*cloud-only"):
        Device(cloud_build).run({"input": digits.images[0]}, "x")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://x", "http://", "http://x:y", "http://a@b", "http://x/?q"]
)
def test_what_is_no_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError):
        Client(url)


@contextmanager
def answering(reply: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads the head of each request and then does what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    reply(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


OTHER_SHAPE = json.dumps(
    {"outputs": [{"name": "logits", "shape": [1, 2], "datatype": "FP32", "data": [0, 1]}]}
).encode()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"", "reset"),
        (b"not http at all\r\n\r\n", "reset"),
        (http("200 OK", b"hello"), "garbage"),
        (http("200 OK", b'{"outputs": []}'), "garbage"),
        (http("200 OK", OTHER_SHAPE), "garbage"),
        (http("200 OK", b"{}", "Inference-Header-Content-Length: 99"), "garbage"),
        (http("200 OK", b"x" * 10)[:-5], "reset"),
        (http("503 Busy", b'{"error": "busy"}'), "status"),
        (http("500 Oops", b"<html>"), "status"),
    ],
)
def test_bad_servers_are_told_apart(cloud_build: Path, digits: Any, reply: bytes, kind: str) -> None:
    with answering(lambda connection: connection.sendall(reply)) as url, pytest.raises(CloudError) as found:
        Device(cloud_build, server=url).run({"input": digits.images[0]})
    assert found.value.kind == kind
    assert found.value.exit_code == 3
    assert url in str(found.value)


@pytest.mark.parametrize("reply", [http("200 OK", b"hello"), http("400 Bad", b'{"error": "what?"}')])
def test_a_connection_that_gave_no_answer_is_not_used_again(
    cloud_build: Path, digits: Any, reply: bytes
) -> None:
    """Something on its way may spoil all that passes; only a new connection goes around it."""
    connections = []

    def spoil(connection: socket.socket) -> None:
        connections.append(connection)
        with contextlib.suppress(OSError):
            connection.sendall(reply)
            while connection.recv(1 << 20):
                connection.sendall(reply)

    with answering(spoil) as url:
        device = Device(cloud_build, server=url)
        for _ in range(2):
            with pytest.raises(CloudError):
                device.run({"input": digits.images[0]})
        device.close()
    assert len(connections) == 2


def test_silent_server_is_given_up(cloud_build: Path, digits: Any) -> None:
    done = threading.Event()

    def hang(_: socket.socket) -> None:
        done.wait(10)

    with answering(hang) as url:
        with pytest.raises(CloudError) as found:
            Device(cloud_build, server=url, timeout_s=0.2).run({"input": digits.images[0]})
        done.set()
    assert found.value.kind == "timeout"


def test_server_that_trickles_is_given_up_at_the_deadline(cloud_build: Path, digits: Any) -> None:
    """Each byte comes well within the time limit; without a deadline for the whole this never ends."""
    stop = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not stop.wait(0.02):
            connection.sendall(b"x")

    with answering(trickle) as url:
        with pytest.raises(CloudError) as found:
            Device(cloud_build, server=url, timeout_s=0.3).run({"input": digits.images[0]})
        stop.set()
    assert found.value.kind == "timeout"


def test_no_server_says_how_to_start_one(cloud_build: Path, digits: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(CloudError, match="edgecut serve") as found:
        Device(cloud_build, server=url).run({"input": digits.images[0]})
    assert found.value.kind == "refused"


def test_connection_closed_between_requests_is_opened_again(
    cloud_build: Path, cloud_url: str, digits: Any
) -> None:
    device = Device(cloud_build, server=cloud_url)
    device.run({"input": digits.images[0]})
    held = device._client._connection.sock
    held.shutdown(socket.SHUT_RDWR)
    assert device.run({"input": digits.images[0]}).outputs["logits"].shape == (1, 10)


def test_device_of_another_build_is_refused_by_name(make_build: Any, cloud_url: str, digits: Any) -> None:
    other = make_build("cloud-only")
    found = manifest.read(other)
    changed = [f for f in found.files if f.path.endswith("model.onnx")]
    text = (other / "manifest.json").read_text().replace(changed[0].sha256, "0" * 64)
    (other / "manifest.json").write_text(text)
    with pytest.raises(CloudError, match="another build") as error:
        Device(other, server=cloud_url).run({"input": digits.images[0]})
    assert error.value.status == 409


def test_artifact_must_be_listed_present_and_unchanged(cloud_build: Path, tmp_path: Path) -> None:
    found = manifest.read(cloud_build)
    for path, message in (("edge/no.tflite", "not among"), ("../x", "not among")):
        with pytest.raises(ModelError, match=message):
            artifact.verify(found, cloud_build, [path])
    with pytest.raises(ModelError, match="absent"):
        artifact.verify(found, tmp_path, [found.files[0].path])


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgecut", "run", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_command_prints_and_saves_the_answer(
    cloud_build: Path, cloud_url: str, digits: Any, truth: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", digits.images[0])
    given = ("--input", tmp_path / "x.npy", "--server", cloud_url)
    found = run(cloud_build / "manifest.json", *given, "--json", "-o", tmp_path / "y.npz")
    assert found.returncode == 0, found.stderr
    shown = json.loads(found.stdout)
    assert shown["cut"] == "cloud-only"
    # Float32 noise between ONNX Runtime's fusions, as above.
    np.testing.assert_allclose(shown["outputs"]["logits"]["data"], truth[0], rtol=1e-5, atol=1e-5)
    with np.load(tmp_path / "y.npz") as saved:
        np.testing.assert_allclose(saved["logits"], truth[0], rtol=1e-5, atol=1e-5)
    assert f"top: {truth[0].argmax()} " in run(cloud_build, *given, "-o", tmp_path / "y.npy").stdout


@pytest.mark.parametrize(
    ("make", "code", "text"),
    [
        (lambda path: None, 1, "no such file"),
        (lambda path: path.write_bytes(b"\x93NUMPY garbage"), 1, "no readable .npy"),
        (
            lambda path: np.save(path, np.zeros((1, 3), np.float32)),
            1,
            "the model takes float32 [1, 1, 32, 32]",
        ),
        (lambda path: np.save(path, np.array([{}], object), allow_pickle=True), 1, "no readable .npy"),
    ],
)
def test_command_ends_with_one_line_on_bad_input(
    cloud_build: Path, tmp_path: Path, make: Callable[[Path], object], code: int, text: str
) -> None:
    make(tmp_path / "x.npy")
    found = run(cloud_build, "--input", tmp_path / "x.npy")
    assert (found.returncode, found.stderr.count("\n"), found.stdout) == (code, 1, "")
    assert text in found.stderr


def test_command_without_a_server_ends_with_code_3(cloud_build: Path, digits: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    np.save(tmp_path / "x.npy", digits.images[0])
    found = run(cloud_build, "--input", tmp_path / "x.npy", "--server", url)
    assert found.returncode == 3
    assert "edgecut serve build/" in found.stderr
