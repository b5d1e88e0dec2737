"""What the cloud gets computes what the whole program computes, from tensors as they come over the wire."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecut.ir import annotations as notes
from edgecut.ir.annotations import Cost, Time, Wire
from edgecut.ir.errors import ModelError, TargetError
from edgecut.ir.extract import named_cut
from edgecut.ir.program import Program
from edgecut.targets.onnx import emit

Run = Callable[[Path | bytes, dict[str, np.ndarray]], dict[str, np.ndarray]]

NHWC = (0, 2, 3, 1)
X = {"x": np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)}


def nhwc(*shape: int) -> Wire:
    return Wire("float32", shape, NHWC)


def with_intermediates(program: Program, names: list[str]) -> bytes:
    proto = program.proto()
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names)
    data: bytes = proto.SerializeToString()
    return data


@pytest.mark.parametrize(
    ("cut", "wire"),
    [
        ("cloud-only", {}),
        ("r1", {"r1": nhwc(1, 8, 8, 16)}),
        ("mean+sum", {"sum": nhwc(1, 8, 8, 16)}),
        ("mean+pool", {"pool": nhwc(1, 4, 4, 16)}),
        ("mean+pool", {}),
        ("mean+nhwc", {}),
    ],
)
def test_cloud_half_undoes_the_wire_form(
    program: Program, run: Run, tmp_path: Path, cut: str, wire: dict[str, Wire]
) -> None:
    found = named_cut(program, cut)
    truth = run(with_intermediates(program, [n for n in found.crossing if n != "x"]), X)
    emit(program, [found], wire).write(tmp_path)
    sent = {n: {**X, **truth}[n] for n in found.crossing}
    sent = {n: np.ascontiguousarray(a.transpose(wire[n].perm)) if n in wire else a for n, a in sent.items()}
    got = run(tmp_path / "My_Net_cut0/1/model.onnx", sent)
    assert set(got) == {"scores", "mean"} - set(found.edge_outputs)
    for name, array in got.items():
        # The same operators on the same numbers; only fusions differ, by a few float32 roundings.
        np.testing.assert_allclose(array, truth[name], rtol=1e-5, atol=1e-6)


def test_wire_transpose_merges_with_the_one_behind_it(program: Program) -> None:
    """NHWC over the wire, and a graph that goes to NHWC next: no Transpose is left."""
    model = emit(program, [named_cut(program, "mean+pool")], {"pool": nhwc(1, 4, 4, 16)}).models[0]
    assert [n.op_type for n in onnx.load_from_string(model.onnx).graph.node] == ["Reshape", "MatMul"]


def test_weights_of_all_cuts_are_stored_once(program: Program, tmp_path: Path) -> None:
    cuts = [named_cut(program, n) for n in ("cloud-only", "r1", "mean+pool", "edge-only")]
    written = emit(program, cuts, {}).write(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "My_Net_cut0",
        "My_Net_cut1",
        "My_Net_cut2",
        "tensorrt.sh",
        "weights.bin",
    ]
    assert {p.as_posix() for p in written} == {
        p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()
    }
    large = 4 * (16 * 3 * 9 + 16 * 16 * 9 + 256 * 10)
    assert large <= (tmp_path / "weights.bin").stat().st_size < large + 3 * 4096
    links = [tmp_path / "weights.bin", *tmp_path.glob("*/1/weights.bin")]
    assert len(links) == 4
    assert len({p.stat().st_ino for p in links}) == 1


@pytest.mark.parametrize("how", ["copytree", "tar", "no hard links"])
def test_repository_survives_being_copied(
    program: Program, run: Run, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "not supported")

    if how == "no hard links":
        monkeypatch.setattr(os, "link", refuse)
    made, copy = tmp_path / "made", tmp_path / "copy"
    emit(program, [named_cut(program, "cloud-only"), named_cut(program, "r1")], {}).write(made)
    if how == "tar":
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            archive.add(made, "copy")
        with tarfile.open(tmp_path / "a.tar") as archive:
            archive.extractall(tmp_path, filter="data")
    else:
        shutil.copytree(made, copy)
    shutil.rmtree(made)
    assert run(copy / "My_Net_cut0/1/model.onnx", X)["scores"].shape == (1, 10)


def test_same_program_gives_the_same_bytes_whatever_was_measured(program: Program, tmp_path: Path) -> None:
    cuts = [named_cut(program, n) for n in ("cloud-only", "r1")]
    emit(program, cuts, {}).write(tmp_path / "a")
    again = program.copy()
    for node in again.nodes:
        notes.put(node, Cost(edge=Time(0.25, "measured")))
    emit(again, cuts, {}).write(tmp_path / "b")
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert files
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_small_tensors_stay_in_the_model(program: Program) -> None:
    model = emit(program, [named_cut(program, "cloud-only")], {}).models[0]
    external = {t.name: bool(t.external_data) for t in onnx.load_from_string(model.onnx).graph.initializer}
    assert external == {"w1": True, "w2": True, "w3": True, "flat_shape": False}


def test_emitting_leaves_the_program_as_it_was(program: Program) -> None:
    before = program.fingerprint()
    emit(program, [named_cut(program, "r1")], {"r1": nhwc(1, 8, 8, 16)})
    assert program.fingerprint() == before


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (Wire("int8", (1, 8, 8, 16), NHWC), "crosses as int8 but is float32"),
        (Wire("float32", (1, 16, 8, 8), NHWC), "which .* cannot have"),
        (Wire("float32", (1, 8, 8, 16), (0, 2, 3, 3)), "which .* cannot have"),
    ],
)
def test_wire_form_that_does_not_fit_is_an_error(program: Program, wire: Wire, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        emit(program, [named_cut(program, "r1")], {"r1": wire})


def test_unwritable_folder_is_one_clear_error(program: Program, tmp_path: Path) -> None:
    (tmp_path / "cloud").write_text("a file")
    with pytest.raises(TargetError, match="cannot write"):
        emit(program, [named_cut(program, "cloud-only")], {}).write(tmp_path / "cloud")
