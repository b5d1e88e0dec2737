"""A build with an open batch: several samples at once, on the device and through the server."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgecut.ir import manifest
from edgecut.ir.errors import ModelError
from edgecut.runtime import repository, serving
from edgecut.runtime.device import Device

CUTS = ("relu_2", "relu_4", "view", "edge-only", "cloud-only")
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
DIGITS = FIXTURES / "digits.onnx"


def edgecut(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgecut", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def build(make_build: Any) -> Path:
    found: Path = make_build(*CUTS, any_batch=True)
    return found


@pytest.fixture(scope="module")
def url(build: Path) -> Iterator[str]:
    with serving.background([build]) as found:
        yield found


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("samples", [1, 5, 2])
def test_split_is_the_whole_for_every_sample(
    build: Path, url: str, digits: Any, truth: np.ndarray, cut: str, samples: int
) -> None:
    device = Device(build, server=url)
    images = np.concatenate(digits.images[:samples])
    expected = np.concatenate(truth[:samples])
    found = device.run({"input": images}, cut).outputs["logits"]
    assert found.shape == (samples, 10)
    # The project's bound for float cuts: other kernels than ONNX Runtime's, 1e-4 of the largest value.
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    device.close()


def test_one_device_may_change_the_size_from_request_to_request(
    build: Path, url: str, digits: Any, truth: np.ndarray
) -> None:
    device = Device(build, server=url)
    for first, samples in ((0, 1), (1, 7), (8, 3), (11, 1)):
        given = np.concatenate(digits.images[first : first + samples])
        found = device.run({"input": given}, "relu_4").outputs["logits"]
        np.testing.assert_allclose(
            found, np.concatenate(truth[first : first + samples]), rtol=1e-4, atol=1e-4
        )
    device.close()


@pytest.mark.parametrize("shape", [(0, 1, 32, 32), (5, 1, 32), (5, 1, 32, 31), (32, 32)])
def test_what_is_no_batch_is_refused(build: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="the model takes float32"):
        Device(build).run({"input": np.zeros(shape, np.float32)})


def test_server_says_any_and_refuses_what_is_no_batch(build: Path, url: str) -> None:
    name = next(c.cloud_model for c in manifest.read(build).cuts if c.name == "cloud-only")
    with urllib.request.urlopen(f"{url}/v2/models/{name}") as answer:
        described = json.load(answer)
    assert described["inputs"][0]["shape"] == [-1, 1, 32, 32]
    assert described["outputs"][0]["shape"] == [-1, 10]
    data = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [2, 1, 32], "data": [0.0] * 64}]}
    request = urllib.request.Request(f"{url}/v2/models/{name}/infer", json.dumps(data).encode())
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)


def test_requests_of_several_sizes_are_run_as_one(build: Path, digits: Any, truth: np.ndarray) -> None:
    models = repository.Repository([build], max_batch=8).models
    model = next(m for m in models.values() if m.inputs[0].name == "input")
    sizes = (2, 1, 4)
    starts = np.cumsum([0, *sizes])
    asked = [{"input": np.concatenate(digits.images[a : a + n])} for a, n in zip(starts, sizes, strict=False)]
    found = model.run(asked)
    assert [f["logits"].shape[0] for f in found] == list(sizes)
    # Kernels for other batch sizes add in another order: float32 noise.
    np.testing.assert_allclose(
        np.concatenate([f["logits"] for f in found]), np.concatenate(truth[:7]), rtol=1e-4, atol=1e-4
    )


def test_triton_is_told_that_the_first_dimension_is_open(build: Path) -> None:
    pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    text_format = pytest.importorskip("google.protobuf.text_format")
    models = sorted((build / "cloud").glob("*/config.pbtxt"))
    assert len(models) == 4
    for path in models:
        config = text_format.Parse(path.read_text(), pb2.ModelConfig())
        model = onnx.load(str(path.parent / "1" / "model.onnx"), load_external_data=False)
        for given, values in ((config.input, model.graph.input), (config.output, model.graph.output)):
            for stated, value in zip(given, values, strict=True):
                first, *rest = value.type.tensor_type.shape.dim
                assert first.dim_param
                assert list(stated.dims) == [-1, *[d.dim_value for d in rest]]


def test_int8_build_of_an_image_by_the_command(tmp_path: Path, truth: np.ndarray) -> None:
    out = tmp_path / "build"
    image = ("--image", "input", "--mean", "127.5", "--std", "127.5")
    data = ("--calibration", FIXTURES / "digits_calibration.npz", "--quantize", "int8")
    place = ("--edge", "raspberrypi4", "--cloud", "x86-vm", "--network", "wifi", "--cut", "relu_4_quantized")
    done = edgecut("build", DIGITS, *image, *data, *place, "--dynamic-batch", "-o", out)
    assert done.returncode == 0, done.stderr
    assert manifest.read(out).dynamic_batch
    assert edgecut("check", out, "--data", FIXTURES / "digits_test.npz", "--limit", "20").returncode == 0
    with np.load(FIXTURES / "digits_test.npz") as stored:
        pixels = stored["input"][:5]
    np.save(tmp_path / "x.npy", pixels)
    with serving.background([out]) as url:
        outputs = []
        for cut in [c.name for c in manifest.read(out).cuts]:
            to = tmp_path / f"{cut}.npz"
            ran = edgecut(
                "run", out, "--server", url, "--cut", cut, "--input", tmp_path / "x.npy", "--output", to
            )
            assert ran.returncode == 0, ran.stderr
            with np.load(to) as made:
                outputs.append(made["logits"])
    assert outputs[0].shape == (5, 10)
    assert len({tuple(o.argmax(axis=1)) for o in outputs}) == 1
    assert (outputs[0].argmax(axis=1) == np.concatenate(truth[:5]).argmax(axis=1)).all()


def test_emit_opens_the_batch_of_a_planned_program(tmp_path: Path) -> None:
    chain = 'simplify,profile{edge=raspberrypi4,cloud="x86-vm"},partition{cut=relu_4}'
    assert edgecut("opt", DIGITS, "-p", chain, "-o", tmp_path / "cut.onnx").returncode == 0
    done = edgecut("emit", tmp_path / "cut.onnx", "--dynamic-batch", "-o", tmp_path / "build")
    assert done.returncode == 0, done.stderr
    assert manifest.read(tmp_path / "build").dynamic_batch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--boundary", "klt{step=0.5}", "--cut", "relu_4"), "codes one sample at a time"),
        (("--mode", "input", "--agreement", "0.9"), "one sample at a time"),
    ],
)
def test_what_works_on_single_samples_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    image = ("--image", "input", "--mean", "127.5", "--std", "127.5")
    data = ("--calibration", FIXTURES / "digits_calibration.npz", "--quantize", "none")
    place = ("--edge", "raspberrypi4", "--cloud", "x86-vm", "--network", "wifi")
    out = tmp_path / "build"
    done = edgecut("build", DIGITS, *image, *data, *place, *arguments, "--dynamic-batch", "-o", out)
    assert done.returncode == 1, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
