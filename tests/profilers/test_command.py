"""The commands as a user runs them: exit codes, what is on stdout, and what is on stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgecut.ir.program import Program
from edgecut.targets import spec


def edgecut(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgecut", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def model(convnet: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("command") / "net.onnx"
    convnet.save(path)
    return path


def test_a_profile_as_table_and_the_annotated_model(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "profiled.onnx"
    done = edgecut("profile", model, "--edge", "raspberrypi4", "--cloud", "aws-lambda", "-o", out)
    assert done.returncode == 0, done.stderr
    assert "whole model ~" in done.stdout
    assert "never compared with this target" in done.stdout
    assert out.is_file()
    again = edgecut("profile", out, "--edge", "raspberrypi4", "--cloud", "aws-lambda")
    assert again.returncode == 0, again.stderr


def test_json_is_a_profile_that_makes_targets(model: Path, tmp_path: Path) -> None:
    done = edgecut("profile", model, "--target", "local", "--runs", 5, "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["edge"] == data["cloud"] == "local"
    assert {"edge_total", "edge_conditions", "cloud_total", "cloud_conditions"} <= set(data)
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps({**data, "model": name}))
    board = tmp_path / "board.toml"
    files = [part for name in ("one", "two") for part in ("--from-profile", tmp_path / f"{name}.json")]
    made = edgecut("targets", "new", "--name", "board", *files, "-o", board)
    assert made.returncode == 0, made.stderr
    assert spec.load_device(str(board)).compute is not None
    fitted = edgecut("profile", "--fit", "x86-host", tmp_path / "one.json", tmp_path / "two.json")
    assert fitted.returncode == 0, fitted.stderr
    assert "[compute.efficiency.float32]" in fitted.stdout
    side = edgecut("profile", "--compare", tmp_path / "one.json", tmp_path / "two.json")
    assert "no more than their spreads" in side.stdout


def test_a_device_that_nobody_can_connect_to(model: Path, tmp_path: Path) -> None:
    written = edgecut("profile", model, "--device-files", tmp_path)
    assert written.returncode == 0, written.stderr
    assert len(written.stdout.splitlines()) == 3
    there = subprocess.run(
        ["sh", tmp_path / "profile.sh", tmp_path / "model.tflite", "--runs", "5"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "board.json").write_text(there.stdout)
    done = edgecut("profile", model, "--edge", tmp_path / "board.json", "--cloud", "x86-vm", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["edge"] == "board"
    assert data["edge_total"]["source"] == "measured"
    assert data["edge_total"]["seconds"] == json.loads(there.stdout)["signatures"][0]["whole"]["median_s"]


def test_a_profile_of_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    edgecut("profile", model, "--device-files", tmp_path / "d")
    (tmp_path / "d" / "model.tflite").write_bytes((tmp_path / "d" / "model.tflite").read_bytes() + b"\0")
    there = subprocess.run(
        ["sh", tmp_path / "d" / "profile.sh", tmp_path / "d" / "model.tflite", "--runs", "5"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "board.json").write_text(there.stdout)
    done = edgecut("profile", model, "--edge", tmp_path / "board.json", "--cloud", "x86-vm")
    assert done.returncode == 1
    assert "another model" in done.stderr


def test_two_targets_side_by_side(model: Path) -> None:
    done = edgecut("profile", model, "--compare", "raspberrypi4", "raspberrypi5", "--json")
    assert done.returncode == 0, done.stderr
    whole = json.loads(done.stdout)["whole"]
    assert whole["second_s"] < whole["first_s"]


def test_float_beside_int8(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "x.npy"
    np.save(data, np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32))
    done = edgecut("profile", model, "--edge", "raspberrypi4", "--cloud", "x86-vm", "--calibration", data)
    assert done.returncode == 0, done.stderr
    assert "edge raspberrypi4" in done.stdout
    assert "float" in done.stdout
    assert "int8" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["profile", "absent.onnx"], 1, "absent.onnx"),
        (["profile"], 2, "takes one model"),
        (["profile", "MODEL", "--edge", "rasberrypi4"], 2, "did you mean 'raspberrypi4'"),
        (["profile", "MODEL", "--edge", "absent.toml"], 2, "absent.toml"),
        (["profile", "MODEL", "--edge", "nvidia-t4"], 2, "no edge target"),
        (["profile", "MODEL", "--edge", "ssh://localhost:1"], 3, "cannot be reached"),
        (["profile", "--compare", "a.json", "b.json"], 1, "a.json: no such file"),
        (["profile", "--fit", "x86-host"], 1, "nothing was measured"),
        (["targets", "wify"], 2, "did you mean 'wifi'"),
        (["targets", "new"], 2, "--from-profile"),
    ],
)
def test_mistakes_are_one_line_and_their_exit_code(
    model: Path, arguments: list[str], code: int, message: str
) -> None:
    done = edgecut(*[model if a == "MODEL" else a for a in arguments])
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_targets_are_listed_and_printed() -> None:
    listed = edgecut("targets", "--json")
    assert {"raspberrypi4", "wifi", "nvidia-h200"} <= {e["name"] for e in json.loads(listed.stdout)}
    assert "GHz" in edgecut("targets", "raspberrypi4").stdout
