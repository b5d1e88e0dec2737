"""Import: where the model came from, what it is compared with, and IR files that need no import."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecut.ir import annotations, files, store
from edgecut.ir.annotations import Cost, History, Reference, Source, Time
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program
from edgecut.passes import pipeline, registry
from edgecut.passes.base import Context
from edgecut.passes.simplify.importing import Import


def _import(path: Path, *shape: str, use_cache: bool = False) -> Program:
    return pipeline.run([Import(path, shape)], Program.empty(), Context(), use_cache=use_cache)


def test_source_and_reference_are_written_down(root: Path) -> None:
    path = root / "fixtures" / "digits.onnx"
    program = _import(path)
    assert annotations.get(program.model, Source) == Source("digits.onnx", files.sha256(path), "onnx")
    reference = store.reference(annotations.require(program.model, Reference, "").key)
    assert reference.proto().graph == program.proto().graph


def test_an_ir_file_keeps_its_annotations(root: Path, tmp_path: Path) -> None:
    program = _import(root / "fixtures" / "digits.onnx")
    cost = Cost(edge=Time(0.25, "measured"))
    annotations.put(next(program.nodes), cost)
    program.save(tmp_path / "ir.onnx")
    again = _import(tmp_path / "ir.onnx")
    assert annotations.get(next(again.nodes), Cost) == cost
    for record in (Source, Reference):
        assert annotations.get(again.model, record) == annotations.get(program.model, record)
    history = annotations.get(again.model, History)
    assert history is not None
    assert [step.text.partition("{")[0] for step in history.steps] == ["import", "import"]
    with pytest.raises(UsageError, match="fixed shapes"):
        _import(tmp_path / "ir.onnx", "input=1,1,32,32")


def test_the_pass_is_found_by_its_text(root: Path) -> None:
    path = root / "fixtures" / "digits.onnx"
    assert registry.pipeline(f'import{{model="{path}",shape=["input=1,1,32,32"]}}') == [
        Import(path, ("input=1,1,32,32",))
    ]


def test_other_weights_beside_the_file_are_another_model(tmp_path: Path) -> None:
    """The cache must see external data: the .onnx file is the same, the model is not."""
    path = tmp_path / "m.onnx"
    found = []
    for value in (1.0, 2.0):
        proto = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> g (float[1,64] x) => (float[1,64] y) { y = Add(x, w) }'
        )
        weights = np.full((1, 64), value, np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
        (tmp_path / "w.bin").unlink(missing_ok=True)
        onnx.save(proto, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
        tensor = _import(path, use_cache=True).graph.initializers["w"].const_value
        assert tensor is not None
        found.append(float(tensor.numpy()[0, 0]))
    assert found == [1.0, 2.0]
    assert Import(path).files() == [path, tmp_path / "w.bin"]
