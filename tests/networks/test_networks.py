"""Generated networks of the kinds that people deploy, whole, through the back end into LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.ir.extract import named_cut
from edgecut.ir.program import Program
from edgecut.passes import recipes
from edgecut.passes.base import Context
from edgecut.passes.numerics import Runner
from edgecut.targets import tflite
from edgecut.targets.tflite import inspect

Array = np.ndarray[Any, Any]

# No TRANSPOSE inside a plain CNN.
PLAIN = (
    "mobilenetv2",
    "mobilenetv3s",
    "resnet18",
    "resnet8",
    "efflite0",
    "dscnn",
    "keras_mobilenet",
    "ecg1d",
)
# Of the others, how many there may be, those at inputs and outputs that are channels first included.
OTHERS = {
    "shufflenetv2": 1, "convnext": 1, "yolo": 1, "unet": 2, "deeplab": 2, "vit_tiny": 1, "bert_tiny": 0,
    "lstm": 0, "gru": 0, "keras_attention": 0,
}  # fmt: skip


def _lowered(networks: Path, name: str) -> tuple[Program, dict[str, Array], bytes]:
    """The imported model, a sample for it, and the file that it becomes."""
    model = next(p for p in (networks / f"{name}.onnx", networks / f"{name}.keras") if p.exists())
    importing, *rest = recipes.Source(model).front()
    imported = importing.run(Program.empty(), Context())
    program = imported.copy()
    for item in rest:
        program = item.run(program, Context())
    with np.load(networks / f"{name}.npz") as stored:
        arrays = dict(stored)
    # Keras numbers the names of its inputs as they are made, so they go by their order.
    sample = {s.name: a[:1] for s, a in zip(imported.inputs, arrays.values(), strict=True)}
    return imported, sample, tflite.emit(program, [named_cut(program, "edge-only")]).data


def _in_litert(data: bytes, sample: dict[str, Array]) -> dict[str, Array]:
    from ai_edge_litert.interpreter import Interpreter

    made: dict[str, Array] = Interpreter(model_content=data, num_threads=1).get_signature_runner("cut0")(
        **sample
    )
    return made


@pytest.mark.parametrize("name", [*PLAIN, *OTHERS])
def test_float_network_computes_what_onnx_runtime_does(networks: Path, run_onnx: Any, name: str) -> None:
    imported, sample, data = _lowered(networks, name)
    made = _in_litert(data, sample)
    for output, expected in run_onnx(imported, sample).items():
        # Both add in float32, each in its own order; a wrong layout, padding or kernel is off by far more.
        assert np.abs(made[output] - expected).max() <= 1e-4 * np.abs(expected).max()
    kinds = inspect.operators(data)
    if name in OTHERS:
        assert kinds["TRANSPOSE"] <= OTHERS[name], kinds
    else:
        # Where the input has several channels and they stand first, they are moved once.
        moved = 1 if next(iter(sample.values())).shape[1] == 3 else 0
        assert kinds["TRANSPOSE"] == moved, kinds


@pytest.mark.parametrize("name", ["convnext", "keras_attention", "vit_tiny", "bert_tiny"])
def test_int8_network_with_float_between_its_layers_has_the_transposes_of_the_float_one(
    int8: Any, name: str
) -> None:
    assert inspect.operators(int8(name).data)["TRANSPOSE"] <= OTHERS[name]


@pytest.mark.parametrize("name", [*PLAIN, *OTHERS])
def test_int8_network_gives_the_integers_that_onnx_runtime_gives(int8: Any, name: str) -> None:
    """Through whole networks: their scales leave no sum that two runtimes round apart."""
    network = int8(name)
    made = network.in_litert()
    for output, expected in Runner(network.program, optimize=False)(network.sample).items():
        # Not one integer differs here; one in a thousand may, where a sum is a tie all the same. A step is
        # 1/255 of the largest at least, and a float softmax at the end differs by its own rounding.
        same = np.abs(made[output] - expected) <= 1e-5 * np.abs(expected).max()
        assert same.mean() >= 0.999


@pytest.mark.parametrize("name", [*PLAIN, *OTHERS])
def test_16x8_network_computes_what_onnx_runtime_does(int16x8: Any, name: str) -> None:
    network = int16x8(name)
    made, kinds = network.in_litert(), inspect.operators(network.data)
    for output, expected in Runner(network.program, optimize=False)(network.sample).items():
        # Every rounding may differ by one step of 15 bits; through dozens of layers that is a few, here up to
        # 0.0016 of the largest (YOLO). A wrong scale or kernel is off by far more.
        assert np.abs(made[output] - expected).max() <= 0.004 * np.abs(expected).max()
    if name in PLAIN:
        assert (kinds["QUANTIZE"], kinds["DEQUANTIZE"]) == (1, 1), kinds
