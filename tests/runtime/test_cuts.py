"""Every kind of cut of one build: edge half in LiteRT, cloud half over HTTP, answers as of the whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.ir import manifest
from edgecut.ir.errors import ModelError
from edgecut.runtime import bundle, compare, serving
from edgecut.runtime.breaker import Breaker
from edgecut.runtime.cache import AnswerCache
from edgecut.runtime.client import CloudError
from edgecut.runtime.device import Device
from edgecut.runtime.policy import Fixed, Policy
from edgecut.runtime.session import Session

CUTS = ("relu_2", "relu_4", "view", "edge-only", "cloud-only")


@pytest.fixture(scope="module")
def build(make_build: Any) -> Path:
    found: Path = make_build(*CUTS)
    return found


@pytest.fixture(scope="module")
def url(build: Path) -> Iterator[str]:
    with serving.background([build]) as found:
        yield found


def close(found: np.ndarray, expected: np.ndarray) -> None:
    # The project's bound for float cuts: other kernels than ONNX Runtime's, 1e-4 of the largest value.
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("cut", CUTS)
def test_cut_computes_what_the_imported_model_computes(
    build: Path, url: str, digits: Any, truth: np.ndarray, cut: str
) -> None:
    device = Device(build, server=url)
    for image, expected in zip(digits.images, truth, strict=False):
        answer = device.run({"input": image}, cut)
        close(answer.outputs["logits"], expected)
        assert (answer.sent_bytes == 0) == (cut == "edge-only")
        assert (answer.phases.edge_s == 0) == (cut == "cloud-only")


def test_comparison_covers_every_cut(build: Path, digits: Any) -> None:
    samples = ({"input": image} for image in digits.images[:25])
    reports = compare.compare(build, samples, digits.labels[:25])
    assert [r.cut for r in reports] == list(CUTS)
    assert [r.failure for r in reports] == [None] * len(CUTS)
    assert [r.split_error is None for r in reports] == [c == "edge-only" for c in CUTS]


def test_command_checks_every_cut(build: Path, digits: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", input=digits.images[:10, 0], labels=digits.labels[:10])
    command = [sys.executable, "-m", "edgecut", "check", str(build), "--data", str(tmp_path / "d.npz")]
    good = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120)
    assert good.returncode == 0, good.stderr
    assert [r["cut"] for r in json.loads(good.stdout)] == list(CUTS)
    bad = subprocess.run(
        [*command, "--max-error", "0", "--cut", "relu_2"], capture_output=True, text=True, timeout=120
    )
    assert bad.returncode == 1
    assert "relu_2" in bad.stdout
    assert bad.stderr.startswith("edgecut: error: cut relu_2: ")


def test_edge_model_other_than_the_manifests_is_refused(build: Path, tmp_path: Path) -> None:
    copy = tmp_path / "b"
    shutil.copytree(build, copy)
    model = copy / "edge" / "model.tflite"
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="differs from its hash"):
        Device(copy)


class Only(Policy):
    """Always one cut, to see what happens to it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def choose(self, cuts: Any, estimates: Any) -> Any:
        return next(cut for cut in cuts if cut.name == self._name)


def test_edge_answers_while_the_server_is_gone_and_no_longer(
    build: Path, digits: Any, truth: np.ndarray
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    breaker = Breaker(failures=2, pause_s=0.01, max_pause_s=0.01)
    session = Session(
        Device(build, server=f"http://127.0.0.1:{port}"), policy=Only("relu_4"), breaker=breaker, hiccup_s=10
    )
    used = []
    command = [sys.executable, "-m", "edgecut", "serve", str(build), "--port", str(port)]
    for _ in range(2):
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        assert "listening" in server.stderr.readline()
        time.sleep(0.05)  # longer than the breaker's pause
        for i in range(10):
            if i == 5:
                os.kill(server.pid, signal.SIGKILL)
                server.communicate()
            answer = session.infer({"input": digits.images[i]})
            close(answer.outputs["logits"], truth[i])
            used.append((answer.cut, bool(answer.fallback)))
    assert used == ([("relu_4", False)] * 5 + [("edge-only", True)] * 5) * 2


def test_hung_server_costs_the_deadline_and_not_the_answer(
    build: Path, digits: Any, truth: np.ndarray
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts into its backlog, and never answers
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        session = Session(Device(build, server=url), policy=Only("relu_2"), deadline_s=0.3)
        answer = session.infer({"input": digits.images[0]})
    close(answer.outputs["logits"], truth[0])
    assert answer.cut == "edge-only"
    assert "did not answer" in answer.fallback


def test_features_are_kept_for_the_next_try(build: Path, url: str, digits: Any, truth: np.ndarray) -> None:
    """The server is absent at first: what the edge half made is sent later, without making it again."""
    features = AnswerCache()
    inputs = {"input": digits.images[0]}
    with pytest.raises(CloudError):
        Device(build, server="http://127.0.0.1:9", features=features).run(inputs, "relu_4")
    again = Device(build, server=url, features=features)
    answer = again.run(inputs, "relu_4")
    close(answer.outputs["logits"], truth[0])
    assert (features.hits, features.misses) == (1, 1)
    assert again._edge is None  # LiteRT was not even loaded
    again.run(inputs, "relu_2")
    assert (features.hits, features.misses) == (1, 2)  # another cut is something else


def test_deadline_too_short_for_the_server_is_met_on_the_edge(build: Path, url: str, digits: Any) -> None:
    session = Session(Device(build, server=url), policy=Fixed(), deadline_s=1e-4)
    answer = session.infer({"input": digits.images[0]})
    assert answer.cut == "edge-only"
    assert "deadline" in answer.fallback


def test_session_adapts_and_reports(build: Path, url: str, digits: Any, truth: np.ndarray) -> None:
    session = Session(Device(build, server=url))
    for i in range(20):
        close(session.infer({"input": digits.images[i]}).outputs["logits"], truth[i])
    status = session.status()
    assert sum(n for name, n in status["requests"].items() if name.startswith("cut ")) == 20
    assert not status["breaker_open"]


def test_bundle_runs_without_the_compiler(
    build: Path, url: str, digits: Any, truth: np.ndarray, tmp_path: Path
) -> None:
    """On the device there are the manifest and the edge folder, and no edgecut."""
    shutil.copytree(build / "edge", tmp_path / "edge")
    shutil.copy(build / "manifest.json", tmp_path)
    assert (tmp_path / "edge" / bundle.NAME).is_file()
    np.save(tmp_path / "x.npy", digits.images[0])
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable}
    script = ["sh", str(tmp_path / "edge" / "run.sh"), "--input", str(tmp_path / "x.npy"), "--json"]
    for cut in CUTS:
        command = [*script, "--cut", cut, "--server", url]
        found = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        assert found.returncode == 0, found.stderr
        close(np.array(json.loads(found.stdout)["outputs"]["logits"]["data"]), truth[0])
    profile = ["sh", str(tmp_path / "edge" / "profile.sh"), "--runs", "3"]
    found = subprocess.run(profile, capture_output=True, text=True, timeout=60, env=environment)
    times = {t["cut"]: t["min_s"] for t in json.loads(found.stdout)["cuts"]}
    assert list(times) == [c for c in CUTS if c != "cloud-only"]
    assert all(t > 0 for t in times.values())


def test_manifest_lists_every_file_of_the_build(build: Path) -> None:
    listed = {f.path for f in manifest.read(build).files}
    there = {p.relative_to(build).as_posix() for p in build.rglob("*") if p.is_file()}
    assert there - listed == {"manifest.json"}
