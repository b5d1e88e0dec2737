"""What Triton and TensorRT are given, and what Triton's own client makes of our server."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as oir
import pytest

from edgecut.ir import manifest
from edgecut.targets.onnx import tensorrt


def test_tritons_client_works_unchanged(cloud_url: str, digits: Any, truth: np.ndarray) -> None:
    http = pytest.importorskip("tritonclient.http")
    client = http.InferenceServerClient(cloud_url.removeprefix("http://"))
    name = "digits_cut0"
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(name)
    assert [m["name"] for m in client.get_model_repository_index()] == [name]
    described = client.get_model_metadata(name)
    assert described["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [1, 1, 32, 32]}]
    for binary in (True, False):
        asked = http.InferInput("input", [1, 1, 32, 32], "FP32")
        asked.set_data_from_numpy(digits.images[0], binary_data=binary)
        wanted = http.InferRequestedOutput("logits", binary_data=binary)
        found = client.infer(name, [asked], outputs=[wanted], request_id="7")
        assert found.get_response()["id"] == "7"
        # Float32 noise between ONNX Runtime's fusions of the whole model and of its copy.
        np.testing.assert_allclose(found.as_numpy("logits"), truth[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(Exception, match="no model 'other'"):
        client.infer("other", [asked])
    client.close()


def test_configuration_is_read_by_tritons_own_protobuf(stepwise_build: Path) -> None:
    pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    text_format = pytest.importorskip("google.protobuf.text_format")
    models = sorted((stepwise_build / "cloud").glob("*/config.pbtxt"))
    assert len(models) == 2
    for path in models:
        config = text_format.Parse(path.read_text(), pb2.ModelConfig())
        assert config.name == path.parent.name
        assert (config.backend, config.max_batch_size) == ("onnxruntime", 0)
        model = onnx.load(str(path.parent / "1" / "model.onnx"), load_external_data=False)
        for given, values in ((config.input, model.graph.input), (config.output, model.graph.output)):
            assert [v.name for v in given] == [v.name for v in values]
            shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in values]
            assert [list(v.dims) for v in given] == shapes
            assert {v.data_type for v in given} == {pb2.TYPE_FP32}


def test_engines_are_built_by_a_script_that_calls_trtexec_right(stepwise_build: Path, tmp_path: Path) -> None:
    """TensorRT itself is not here: a stand-in notes its arguments, and makes the file it is asked for."""
    script = stepwise_build / "cloud" / "tensorrt.sh"
    names = sorted(p.parent.name for p in (stepwise_build / "cloud").glob("*/config.pbtxt"))
    trtexec = tmp_path / "trtexec"
    trtexec.write_text(
        "#!/bin/sh\n"
        'echo "$@" >> "$LOG"\n'
        'for a in "$@"; do case $a in --saveEngine=*) : > "${a#--saveEngine=}";; esac; done\n'
    )
    trtexec.chmod(0o755)
    shell = shutil.which("dash") or "sh"
    environment = {**os.environ, "TRTEXEC": str(trtexec), "LOG": str(tmp_path / "log"), "EXTRA": "--fp16"}
    subprocess.run([shell, script, tmp_path / "engines"], check=True, env=environment)
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 2
    for line, name in zip(lines, names, strict=True):
        assert f"--onnx={stepwise_build}/cloud/{name}/1/model.onnx" in line.replace(
            "/cloud/../cloud", "/cloud"
        )
        assert "--fp16" in line
        assert "--int8" not in line
        assert (tmp_path / "engines" / name / "1" / "model.plan").exists()
        config = (tmp_path / "engines" / name / "config.pbtxt").read_text()
        assert 'backend: "tensorrt"' in config


def test_the_build_says_that_tensorrt_would_take_it(stepwise_build: Path) -> None:
    found = manifest.read(stepwise_build)
    assert [(r.version, r.problems) for r in found.tensorrt] == [("10.15", ())] * 2


def problems(body: str, **weights: np.ndarray) -> list[str]:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 17, "my": 1]> {body}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in weights.items())
    return tensorrt.problems(oir.from_proto(onnx.shape_inference.infer_shapes(model)))


SCALE = np.array(0.1, np.float32)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("g (float[1,2] x) => (float[1,2] y) { y = Relu(x) }", ""),
        ("g (float[1,2] x) => (float[1,2] y) { y = my.Thing(x) }", "domain my"),
        ("g (float[2,2] x) => (float y) { y = Det(x) }", "does not have this operator"),
        ("g (bool[1,2] x) => (int64[2,k] y) { y = NonZero(x) }", "takes FP32, FP16, not BOOL"),
        (
            "g (float[1,2,8] x) => (float[1,2,4] y) { y = MaxPool<kernel_shape=[2], strides=[2]>(x) }",
            "2 or 3",
        ),
        (
            "g (float[1,2,8,8] x) => (float[1,2,6,6] y) "
            "{ y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x) }",
            "dilations",
        ),
        ("g (int8[1,2] x) => (int8[2,1] y) { y = Transpose<perm=[1,0]>(x) }", "not INT8"),
        ("g (int8[1,2] x) => (float[1,2] y) { y = DequantizeLinear(x, s, z0) }", ""),
        ("g (int8[1,2] x) => (float[1,2] y) { y = DequantizeLinear(x, s, z3) }", "zero point must be 0"),
        ("g (uint8[1,2] x) => (float[1,2] y) { y = DequantizeLinear(x, s, u0) }", "takes INT8, not UINT8"),
        ("g (float[1,2] x) => (int8[1,2] y) { y = QuantizeLinear(x, s, z3) }", "zero point must be 0"),
    ],
)
def test_what_tensorrt_refuses_is_told_by_node_and_reason(body: str, reason: str) -> None:
    weights: dict[str, np.ndarray] = {
        "s": SCALE,
        "z0": np.array(0, np.int8),
        "z3": np.array(3, np.int8),
        "u0": np.array(0, np.uint8),
    }
    found = problems(
        body, **{name: array for name, array in weights.items() if f" {name})" in body or name == "s"}
    )
    if not reason:
        assert found == []
        return
    assert len(found) == 1
    assert reason in found[0]
