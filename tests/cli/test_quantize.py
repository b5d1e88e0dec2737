"""``edgecut quantize`` as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from .conftest import CALIBRATION, FIXTURES, MODEL, Edgecut

IMAGE = ("--image", "input", "--mean", "127.5", "--std", "127.5")


def test_table_of_kernels(edgecut: Edgecut, tmp_path: Path) -> None:
    found = edgecut(
        "quantize", MODEL, *IMAGE, "--calibration", CALIBRATION, "--edge", "raspberrypi4", "--min-sqnr", "5",
        "--explain", "-o", tmp_path / "q.onnx",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("node"))
    assert [w in lines[header] for w in ("at the node", "at the output", "saves", "decision")] == [True] * 4
    before, after = (next(line for line in lines if line.startswith(w)) for w in ("before", "quantize"))
    # Both were profiled: predicted for a board that is not at hand.
    assert "~" in before
    assert "~" in after
    assert "dB" in after


def test_json(edgecut: Edgecut, tmp_path: Path) -> None:
    arguments = ("--calibration", CALIBRATION, "--explain", "--json", "-o", tmp_path / "q.onnx")
    found = edgecut("quantize", MODEL, *IMAGE, *arguments)
    assert found.returncode == 0, found.stderr
    data = json.loads(found.stdout)
    assert data["weight_bytes"] < data["weight_bytes_before"]
    assert [step["step"] for step in data["steps"]] == ["before", "quantize"]
    assert data["kernels"]
    own = data["kernels"][0]["sensitivity"]
    assert own["integer"] is True
    assert own["known"] == "estimated"
    assert own["output_sqnr_db"] > 10


def test_a_budget_out_of_reach_leaves_nothing(edgecut: Edgecut, tmp_path: Path) -> None:
    arguments = ("--calibration", CALIBRATION, "--min-sqnr", "300", "-o", tmp_path / "q.onnx")
    found = edgecut("quantize", MODEL, *IMAGE, *arguments)
    assert found.returncode == 1
    assert "nothing was changed" in found.stderr
    assert not (tmp_path / "q.onnx").exists()
    assert edgecut("quantize", MODEL, *IMAGE, *arguments, "--best-effort").returncode == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"input": np.full((4, 1, 32, 32), np.nan, np.float32)}, "sample 0 has NaN"),
        ({"input": np.zeros((4, 1, 16, 16), np.float32)}, r"but the input 'input' takes"),
        ({"input": np.zeros((0, 1, 32, 32), np.float32)}, "no samples"),
        ({"other": np.zeros((4, 7), np.float32), "more": np.zeros(3, np.float32)}, "input"),
    ],
)
def test_data_that_cannot_calibrate(
    edgecut: Edgecut, tmp_path: Path, change: dict[str, np.ndarray], says: str
) -> None:
    np.savez(tmp_path / "data.npz", allow_pickle=False, **change)
    found = edgecut("quantize", MODEL, "--calibration", tmp_path / "data.npz", "-o", tmp_path / "q.onnx")
    assert found.returncode == 1
    assert re.search(says, found.stderr), found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "q.onnx").exists()


def test_refined_build(edgecut: Edgecut) -> None:
    found = edgecut(
        "build", FIXTURES / "digits.onnx", "--calibration", CALIBRATION, *IMAGE, "--edge", "raspberrypi4",
        "--cloud", "nvidia-t4", "--refine", "--min-agreement", "0.9", "--print-pipeline",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    text = found.stdout
    assert text.index("equalize{") < text.index("quantize{") < text.index("correct-bias{")
    # TensorRT takes symmetric activations only, which the device runs as well.
    assert "scheme=int8-symmetric" in text
    assert "min_agreement=0.9" in text


def test_steps_around_quantize_leave_the_times_before_it(edgecut: Edgecut, tmp_path: Path) -> None:
    arguments = (
        "--calibration",
        CALIBRATION,
        "--samples",
        "8",
        "--edge",
        "raspberrypi4",
        "--refine",
        "--json",
    )
    found = edgecut("quantize", MODEL, *IMAGE, *arguments, "-o", tmp_path / "q.onnx")
    assert found.returncode == 0, found.stderr
    steps = json.loads(found.stdout)["steps"]
    assert [step["step"] for step in steps] == ["before", "equalize", "quantize", "correct-bias"]
    assert all(step["sqnr_db"] > 20 for step in steps[1:])
    assert steps[0]["edge"]["seconds"] > steps[-1]["edge"]["seconds"] > 0


def test_unknown_method(edgecut: Edgecut, tmp_path: Path) -> None:
    found = edgecut(
        "quantize", MODEL, "--calibration", CALIBRATION, "--method", "x", "-o", tmp_path / "q.onnx"
    )
    assert found.returncode == 2


def test_each_step_says_in_the_history_what_it_did(edgecut: Edgecut, tmp_path: Path) -> None:
    constant = tmp_path / "constant.npz"
    np.savez(constant, allow_pickle=False, input=np.full((8, 32, 32, 1), 7, np.uint8))
    output = tmp_path / "q.onnx"
    arguments = (
        *IMAGE,
        "--calibration",
        constant,
        "--edge",
        "raspberrypi4",
        "--refine",
        "--json",
        "-o",
        output,
    )
    found, again = (edgecut("quantize", MODEL, *arguments) for _ in range(2))
    assert found.returncode == 0, found.stderr
    data = json.loads(found.stdout)
    assert data["weight_bytes"] < data["weight_bytes_before"]
    # The second time all comes from the cache, with what was warned of.
    assert "constant over all calibration data" in found.stderr
    assert again.stderr == found.stderr
    shown = json.loads(edgecut("show", output, "--json").stdout)["annotations"]["edgecut.history"]["steps"]
    metrics = {step["text"].split("{")[0]: step.get("metrics", {}) for step in shown}
    for name in ("equalize", "quantize", "correct-bias"):
        assert {"weight_bytes_before", "weight_bytes", "macs", "sqnr_db", "agreement"} <= metrics[name].keys()
    times = [step["metrics"]["edge_s"] for step in shown if step["text"].startswith("profile")]
    assert times[0] > times[-1] > 0
