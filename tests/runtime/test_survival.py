"""No request is lost, doubled or wrong, whatever becomes of the server or of the device's process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgecut.runtime import bundle
from edgecut.runtime.breaker import Breaker
from edgecut.runtime.client import CloudError
from edgecut.runtime.device import Device
from edgecut.runtime.outbox import Outbox
from edgecut.runtime.session import Session


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def server(build: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own, which can be killed."""
    command = [sys.executable, "-m", "edgecut", "serve", str(build), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert "listening" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def check(answer: Any, expected: np.ndarray) -> None:
    # Float32 noise between ONNX Runtime's fusions of the whole model and of its copy.
    np.testing.assert_allclose(answer.outputs["logits"], expected, rtol=1e-5, atol=1e-5)


def test_requests_wait_on_disk_while_the_server_is_dead(
    cloud_build: Path, digits: Any, truth: np.ndarray, tmp_path: Path, port: int
) -> None:
    url = f"http://127.0.0.1:{port}"
    breaker = Breaker(failures=1, pause_s=0.01, max_pause_s=0.01)
    session = Session(Device(cloud_build, server=url), breaker=breaker, outbox=Outbox(tmp_path))
    answers: dict[str, Any] = {}
    with server(cloud_build, port) as process:
        for i in range(10):
            if i == 5:
                process.kill()
                process.wait()
            found = session.submit({"input": digits.images[i]}, f"r{i}")
            if found is not None:
                answers[f"r{i}"] = found
    assert sorted(answers) == [f"r{i}" for i in range(5)]
    assert list(session.drain()) == []
    # The device's process dies too: another one finds what was kept.
    session = Session(Device(cloud_build, server=url), breaker=breaker, outbox=Outbox(tmp_path))
    with server(cloud_build, port):
        deadline = time.monotonic() + 30
        while session.status()["waiting"] and time.monotonic() < deadline:
            for name, found in session.drain():
                assert name not in answers
                answers[name] = found
    assert list(answers) == [f"r{i}" for i in range(10)]
    for i in range(10):
        check(answers[f"r{i}"], truth[i])


def test_request_that_can_never_be_answered_does_not_block_the_others(
    cloud_build: Path, cloud_url: str, digits: Any, tmp_path: Path
) -> None:
    box = Outbox(tmp_path)
    box.put("bad", {"input": np.zeros(3)})
    box.put("good", {"input": digits.images[0]})
    session = Session(Device(cloud_build, server=cloud_url), outbox=box)
    assert [name for name, _ in session.drain()] == ["good"]
    assert len(box) == 0
    assert [p.name.split("-")[1] for p in tmp_path.glob("*.rejected")] == ["bad.npz.rejected"]


def test_dead_server_is_left_alone_after_it_failed(cloud_build: Path, digits: Any, port: int) -> None:
    session = Session(Device(cloud_build, server=f"http://127.0.0.1:{port}"), breaker=Breaker(failures=2))
    reasons = []
    for _ in range(4):
        with pytest.raises(CloudError) as found:
            session.infer({"input": digits.images[0]})
        reasons.append("left alone" in str(found.value))
    assert reasons == [False, False, True, True]
    assert session.status()["breaker_open"]


def test_answer_taken_over_before_a_crash_is_not_given_twice(
    cloud_build: Path, cloud_url: str, digits: Any, tmp_path: Path
) -> None:
    """A crash after an answer was written and before its request was forgotten."""
    from edgecut.runtime.watch import AnswerFile

    box = Outbox(tmp_path / "q")
    box.put("a", {"input": digits.images[0]})
    for _ in range(2):
        session = Session(Device(cloud_build, server=cloud_url), outbox=Outbox(tmp_path / "q"))
        name, _answer = next(iter(session.drain()))
        AnswerFile(tmp_path / "answers").write(json.dumps({"id": name}))
    assert (tmp_path / "answers").read_text() == '{"id": "a"}\n'


def watch(build: Path, tmp_path: Path, *options: object) -> subprocess.Popen[bytes]:
    (tmp_path / bundle.NAME).write_bytes(bundle.application())
    command = [sys.executable, str(tmp_path / bundle.NAME), "watch", str(build), *map(str, options)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_lines_of_standard_input_are_answered(
    cloud_build: Path, cloud_url: str, digits: Any, truth: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "pic.npy", digits.images[1])
    lines = [
        json.dumps({"id": "a/b", "inputs": {"input": digits.images[0].tolist()}}),
        str(tmp_path / "pic.npy"),
        "{broken",
        json.dumps({"id": "c", "inputs": {"input": ["x"]}}),
        "absent.npy",
    ]
    options = ("--server", cloud_url, "--status", tmp_path / "status.json", "--cache-mb", 1)
    process = watch(cloud_build, tmp_path, *options)
    out, err = process.communicate("\n".join(lines).encode() + b"\n", timeout=60)
    assert (process.returncode, err) == (0, b"")
    found = [json.loads(line) for line in out.splitlines()]
    assert [f["id"].split("-")[0] for f in found] == ["a_b", "pic", "line", "c", "absent"]
    for answer, expected in zip(found[:2], truth[:2], strict=True):
        # Float32 noise, as above.
        np.testing.assert_allclose(answer["outputs"]["logits"]["data"], expected, rtol=1e-5, atol=1e-5)
    assert all("error" in f for f in found[2:])
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["requests"] == {"cut cloud-only": 2}
    assert status["cache"]["hit_rate"] == 0.0


def test_killed_watcher_loses_and_doubles_nothing(
    cloud_build: Path, digits: Any, truth: np.ndarray, tmp_path: Path, port: int
) -> None:
    """Watcher and server are killed again and again while files keep coming."""
    inbox = tmp_path / "in"
    inbox.mkdir()
    count = 21
    for i in range(count):
        np.save(inbox / f".{i}.npy", digits.images[i])
    options = ("--server", f"http://127.0.0.1:{port}", "--folder", inbox, "--answers", tmp_path / "answers")
    answers = tmp_path / "answers"

    def lines() -> list[bytes]:
        return answers.read_bytes().splitlines() if answers.exists() else []

    for round_ in range(4):
        with server(cloud_build, port) as serving:
            for i in range(round_ * 5, round_ * 5 + 5):
                (inbox / f".{i}.npy").rename(inbox / f"r{i:02d}.npy")
            process = watch(cloud_build, tmp_path, *options, "--queue", tmp_path / "q")
            while len(lines()) < round_ * 5 + 2 and process.poll() is None:
                time.sleep(0.01)
            if round_ % 2:
                serving.kill()
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
    with server(cloud_build, port):
        process = watch(cloud_build, tmp_path, *options, "--queue", tmp_path / "q")
        (inbox / ".20.npy").rename(inbox / "r20.npy")
        while len(lines()) < count and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    found = {a["id"]: a for a in map(json.loads, lines())}
    assert len(lines()) == count
    assert sorted(found) == [f"r{i:02d}" for i in range(count)]
    for i in range(len(truth)):
        data = found[f"r{i:02d}"]["outputs"]["logits"]["data"]
        np.testing.assert_allclose(data, truth[i], rtol=1e-5, atol=1e-5)  # float32 noise, as above


def test_selftest_says_which_cut_does_not_work(cloud_build: Path, cloud_url: str, tmp_path: Path) -> None:
    (tmp_path / bundle.NAME).write_bytes(bundle.application())
    command = [sys.executable, str(tmp_path / bundle.NAME), "selftest", str(cloud_build), "--server"]
    good = subprocess.run([*command, cloud_url], capture_output=True, text=True, timeout=60)
    assert (good.returncode, good.stdout) == (0, "cloud-only: ok\n")
    bad = subprocess.run([*command, "http://127.0.0.1:9"], capture_output=True, text=True, timeout=60)
    assert bad.returncode == 1
    assert "cloud-only: http://127.0.0.1:9: refuses connections" in bad.stderr


def test_everything_fails_and_every_request_is_answered_once(
    survive: ModuleType,
    digits_builds: ModuleType,
    cloud_build: Path,
    digits: Any,
    truth: np.ndarray,
    tmp_path: Path,
) -> None:
    """Every kind of fault once; ``python benchmarks/survive.py`` is the same with 10,000 requests."""
    other = digits_builds.altered(cloud_build, tmp_path / "other")
    images = digits.images[: len(truth)]
    found = survive.survive(
        cloud_build,
        other,
        images,
        truth,
        requests=500,
        seed=1,
        lab=None,
        pause_s=0.05,
        fault_s=0.4,
        limit_s=200,
    )
    kinds = {survive.kind(name) for name in survive.FAULTS} - {"blackhole"}
    assert set(found["faults"]) == kinds
    assert min(found["attacks"].values()) > 5
    counts = {key: found[key] for key in ("answers", "lost", "doubled", "wrong", "rejected")}
    assert counts == {"answers": 500, "lost": 0, "doubled": 0, "wrong": 0, "rejected": 0}
