"""Programs: load, save, copy, fingerprint, annotations and verification."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecut.ir import diff, printer, program, verify
from edgecut.ir.annotations import CloudOnly, Cost, Group, History, Placement, Step, Time, Wire, get, put
from edgecut.ir.errors import ModelError, TargetError
from edgecut.ir.program import Program


def annotated(residual: Program) -> Program:
    conv = next(residual.nodes)
    put(conv, Cost(edge=Time(1.5e-3, "measured"), cloud=Time(2e-5, "predicted"), macs=10))
    put(conv, Placement("edge"))
    put(conv, Group("relu1"))
    put(residual.value("r1"), Wire("float32", (1, 6, 6, 4), (0, 2, 3, 1)))
    put(residual.model, History((Step("simplify", 1, {"nodes": 8.0}),)))
    return residual


def test_annotations_survive_a_file_that_any_onnx_tool_reads(residual: Program, tmp_path: Path) -> None:
    annotated(residual).save(tmp_path / "m.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)
    loaded = Program.load(tmp_path / "m.onnx")
    assert get(next(loaded.nodes), Cost) == Cost(Time(1.5e-3, "measured"), Time(2e-5, "predicted"), 10)
    assert get(loaded.value("r1"), Wire) == Wire("float32", (1, 6, 6, 4), (0, 2, 3, 1))
    assert get(loaded.model, History) == History((Step("simplify", 1, {"nodes": 8.0}),))
    assert loaded.fingerprint() == residual.fingerprint()


def test_copies_are_independent_and_equal(residual: Program) -> None:
    copy = annotated(residual).copy()
    assert copy.fingerprint() == residual.fingerprint()
    put(next(copy.nodes), CloudOnly("no kernel"))
    assert get(next(residual.nodes), CloudOnly) is None
    assert copy.fingerprint() != residual.fingerprint()


def test_a_changed_weight_changes_the_fingerprint(residual: Program) -> None:
    before = residual.fingerprint()
    value = residual.graph.initializers["w1"]
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array.flat[0] += 1
    import onnx_ir

    value.const_value = onnx_ir.tensor(array, name="w1")
    assert residual.fingerprint() != before


def test_large_weights_go_to_a_file_beside_the_model(
    residual: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_onnx: object
) -> None:
    import onnxruntime

    feeds = {"x": np.ones((1, 2, 6, 6), np.float32)}
    expected = onnxruntime.InferenceSession(residual.bytes()).run(None, feeds)[0]
    monkeypatch.setattr(program, "EXTERNAL_DATA_THRESHOLD", 100)
    residual.save(tmp_path / "m.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    found = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, feeds)[0]
    np.testing.assert_array_equal(found, expected)
    loaded = Program.load(tmp_path / "m.onnx")
    assert loaded.fingerprint() == residual.fingerprint()


@pytest.mark.parametrize("content", [b"", b"\x00\x01garbage", b"# a text file\n", None])
def test_files_that_are_no_model_are_one_clear_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx"):
        Program.load(path)


def test_a_truncated_model_is_one_clear_error(residual: Program, tmp_path: Path) -> None:
    whole = residual.bytes()
    for end in range(1, len(whole), 97):
        (tmp_path / "m.onnx").write_bytes(whole[:end])
        try:
            verify.verify(Program.load(tmp_path / "m.onnx"))
        except ModelError:
            continue
        pytest.fail(f"a model cut off after {end} of {len(whole)} bytes was accepted")


def test_a_place_that_cannot_be_written_leaves_nothing(residual: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError):
        residual.save(tmp_path / "file" / "m.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_verify_accepts_a_good_program(residual: Program) -> None:
    verify.verify(annotated(residual))


def test_verify_refuses_an_unknown_shape(residual: Program) -> None:
    residual.value("r1").shape = None
    with pytest.raises(ModelError, match="r1: has no known static shape"):
        verify.verify(residual)


def test_verify_refuses_two_nodes_of_one_name(residual: Program) -> None:
    first, second = list(residual.nodes)[:2]
    second.name = first.name
    with pytest.raises(ModelError, match="two nodes have the name 'conv1'"):
        verify.verify(residual)


def test_verify_refuses_a_cycle(residual: Program) -> None:
    next(residual.nodes).replace_input_with(0, residual.value("r2"))
    with pytest.raises(ModelError, match="conv1: reads 'r2' before it is computed"):
        verify.verify(residual)


def test_verify_refuses_an_operator_that_does_not_exist(residual: Program) -> None:
    next(residual.nodes).op_type = "Convolve"
    with pytest.raises(ModelError, match="Convolve"):
        verify.verify(residual)


def test_verify_refuses_an_annotation_that_does_not_parse(residual: Program) -> None:
    next(residual.nodes).metadata_props["edgecut.cost"] = '{"macs": "many"}'
    with pytest.raises(ModelError, match=r"conv1: annotation edgecut\.cost does not parse: \$\.macs"):
        verify.verify(residual)


def test_verify_refuses_an_annotation_in_the_wrong_place(residual: Program) -> None:
    put(residual.model, Placement("edge"))
    with pytest.raises(ModelError, match=r"edgecut\.side belongs on a node, not on a model"):
        verify.verify(residual)


def test_annotations_of_another_schema_are_refused(residual: Program, tmp_path: Path) -> None:
    residual.model.metadata_props["edgecut.schema"] = "99"
    residual.save(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="schema 99"):
        Program.load(tmp_path / "m.onnx")


def test_text_shows_time_side_and_wire_beside_the_node(residual: Program) -> None:
    text = printer.text(annotated(residual))
    line = next(line for line in text.splitlines() if "= Conv(x)" in line)
    assert line.startswith("edge")
    assert "1.5 ms | 20 us~" in line
    assert "with relu1" in line
    assert any("crosses as float32[1, 6, 6, 4]" in line for line in text.splitlines())
    assert "pass    simplify   (nodes=8)" in text


def test_diff_names_what_changed_and_nothing_else(residual: Program) -> None:
    other = residual.copy()
    assert diff.diff(residual, other) == []
    put(next(other.nodes), Placement("cloud"))
    assert diff.diff(residual, other) == [diff.Difference("node conv1 edgecut.side.side", None, "cloud")]
