"""A file that takes any batch gives for each sample what the model gives for it alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program
from edgecut.passes import recipes
from edgecut.passes.base import Context


def _convert(model: Path, to: Path) -> Program:
    program = Program.empty()
    for item in recipes.convert(recipes.Source(model), to, dynamic_batch=True):
        program = item.run(program, Context())
    return program


# Slices of channels, baked reshapes and sizes, two inputs, one dimension, recurrence.
@pytest.mark.parametrize("name", ["shufflenetv2", "deeplab", "bert_tiny", "ecg1d", "lstm"])
def test_batches_of_one_three_and_eight(networks: Path, run_onnx: Any, tmp_path: Path, name: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "m.tflite"
    program = _convert(networks / f"{name}.onnx", path)
    with np.load(networks / f"{name}.npz") as stored:
        samples = {spec.name: stored[spec.name] for spec in program.inputs}
    (output,) = program.outputs
    alone = [run_onnx(program, {k: v[i : i + 1] for k, v in samples.items()}) for i in range(8)]
    interpreter = Interpreter(str(path), num_threads=1)
    runner = interpreter.get_signature_runner("serving_default")
    details = interpreter.get_input_details()
    assert {int(d["shape_signature"][0]) for d in details} == {-1}
    for batch in (1, 3, 8):
        made = runner(**{k: v[:batch] for k, v in samples.items()})[output.name]
        expected = np.concatenate([a[output.name] for a in alone[:batch]])
        assert made.shape == expected.shape
        # float32 on both sides, added in another order
        assert np.abs(made - expected).max() <= 1e-4 * np.abs(expected).max()


def test_batch_that_is_baked_in_is_refused_with_its_node(networks: Path, tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match=r"cannot take any batch.*Concat"):
        _convert(networks / "vit_tiny.onnx", tmp_path / "m.tflite")  # its class token is one constant
    assert not (tmp_path / "m.tflite").exists()
