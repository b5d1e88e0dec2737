"""One model into one TFLite file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

Edgecut = Callable[..., subprocess.CompletedProcess[str]]
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
DIGITS = FIXTURES / "digits.onnx"


def _accuracy(path: Path) -> float:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path), num_threads=1).get_signature_runner("serving_default")
    with np.load(FIXTURES / "digits_test.npz") as data:
        pixels, labels = data["input"][:100], data["labels"][:100]
    right = [runner(input=p[None])["logits"].argmax() == n for p, n in zip(pixels, labels, strict=True)]
    return float(np.mean(right))


IMAGE = ("--image", "input", "--mean", "127.5", "--std", "127.5")


def test_float_file_runs_and_is_the_same_each_time(edgecut: Edgecut, tmp_path: Path) -> None:
    first, second = tmp_path / "a.tflite", tmp_path / "b.tflite"
    done = edgecut("convert", DIGITS, "-o", first, *IMAGE, "--verify", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["bytes"] == first.stat().st_size
    assert figures["verified_error"] < 1e-4
    assert edgecut("convert", DIGITS, "-o", second, *IMAGE).returncode == 0
    assert first.read_bytes() == second.read_bytes()
    assert _accuracy(first) >= 0.98


def test_calibration_makes_it_int8(edgecut: Edgecut, tmp_path: Path) -> None:
    path, depfile = tmp_path / "m.tflite", tmp_path / "m.d"
    data = FIXTURES / "digits_calibration.npz"
    done = edgecut("convert", DIGITS, "-o", path, *IMAGE, "--calibration", data, "--depfile", depfile)
    assert done.returncode == 0, done.stderr
    assert path.stat().st_size < 100_000, "56,250 weights of one byte"
    assert _accuracy(path) >= 0.97
    assert str(data) in depfile.read_text()


def test_integers_that_are_slower_on_the_edge_are_not_used(edgecut: Edgecut, tmp_path: Path) -> None:
    from edgecut.targets.tflite import inspect

    path, device, data = tmp_path / "m.tflite", tmp_path / "slow.toml", FIXTURES / "digits_calibration.npz"
    device.write_text(
        'title = "slow on integers"\nkind = "edge"\nruntime = "litert"\ncores = 1\nmemory_mb = 512\n'
        "[compute]\npeak_gmacs = { float32 = 10.0, int8 = 1.0 }\nbandwidth_gbs = 4.0\nop_us = 2.0\n"
    )
    done = edgecut("convert", DIGITS, "-o", path, *IMAGE, "--calibration", data, "--edge", device)
    assert done.returncode == 0, done.stderr
    assert "int8 is not faster on slow" in done.stderr
    # Kernels compute in float; only weights are in 8 bits, each behind a DEQUANTIZE.
    found = inspect.operators(path.read_bytes())
    assert "QUANTIZE" not in found
    assert found["DEQUANTIZE"] <= sum(
        found[kind] for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    )
    assert (
        edgecut("convert", DIGITS, "-o", path, "--edge", "no-such-thing", "--calibration", data).returncode
        == 2
    )


def test_what_cannot_run_is_named_and_no_file_left(edgecut: Edgecut, tmp_path: Path) -> None:
    make, floats = onnx.helper.make_node, onnx.TensorProto.FLOAT
    x = onnx.helper.make_tensor_value_info("x", floats, [1, 4, 4])
    y = onnx.helper.make_tensor_value_info("y", floats, [1])
    graph = onnx.helper.make_graph([make("Det", ["x"], ["y"], "the_det")], "g", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    done = edgecut("convert", tmp_path / "m.onnx", "-o", tmp_path / "m.tflite")
    assert done.returncode == 1
    assert "the_det" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "m.tflite").exists()


def test_int8_without_data_is_a_usage_error(edgecut: Edgecut, tmp_path: Path) -> None:
    done = edgecut("convert", DIGITS, "-o", tmp_path / "m.tflite", "--quantize", "int8")
    assert done.returncode == 2
    assert "--calibration" in done.stderr


def test_too_large_a_file_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecut.ir.errors import ModelError
    from edgecut.ir.program import Program
    from edgecut.passes.simplify.batchnorm import fold
    from edgecut.targets import tflite
    from edgecut.targets.tflite import pack

    program = Program.load(DIGITS)
    fold(program)
    monkeypatch.setattr(pack, "LIMIT", 100_000)  # no test writes 2 GiB
    with pytest.raises(ModelError, match=r"weights on the edge.*quantize it"):
        tflite.convert(program)
