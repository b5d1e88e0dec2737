"""Networks that ONNX Runtime quantized, and then optimized for itself: its own operators, channels last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgecut import frontends
from edgecut.ir.extract import named_cut
from edgecut.passes.numerics import Runner
from edgecut.targets import tflite

Array = np.ndarray[Any, Any]


def optimized(source: Path, arrays: dict[str, Array], folder: Path) -> Path:
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    samples = iter([arrays])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(samples, None)

    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
    quantize_static(source, folder / "qdq.onnx", Reader(), quant_format=QuantFormat.QDQ, **kinds)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(folder / "qdq.onnx", options, providers=["CPUExecutionProvider"])
    return folder / "optimized.onnx"


@pytest.mark.parametrize(
    "name", ["bert_tiny", "convnext", "ecg1d", "resnet8", "shufflenetv2", "unet", "vit_tiny"]
)
def test_what_onnx_runtime_made_of_a_network_runs_on_the_edge(
    networks: Path, tmp_path: Path, name: str
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    source = networks / f"{name}.onnx"
    weights = onnx.load(source).graph
    inputs = [v.name for v in weights.input if v.name not in {t.name for t in weights.initializer}]
    with np.load(networks / f"{name}.npz") as stored:
        arrays = {k: v[:1] for k, v in zip(inputs, stored.values(), strict=True)}
    path = optimized(source, arrays, tmp_path)
    assert any(node.domain == "com.microsoft" for node in onnx.load(path).graph.node)
    program = frontends.load(path)
    assert [g.reason for g in tflite.fusion_groups(program) if g.reason] == []
    data = tflite.emit(program, [named_cut(program, "edge-only")]).data
    made = Interpreter(model_content=data, num_threads=1).get_signature_runner("cut0")(**arrays)
    for key, expected in Runner(program, optimize=False)(arrays).items():
        # The same integers but for ties, of which one far in front may move some results by a step or two;
        # the largest is some dozen steps at least.
        apart = np.abs(made[key] - expected) > 0.04 * np.abs(expected).max()
        assert apart.mean() <= 0.01, key
