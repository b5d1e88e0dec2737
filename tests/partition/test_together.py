"""Tensors that cross only beside others: their encodings, and what these do together."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgecut.ir import annotations, coded, extract
from edgecut.ir.annotations import CloudOnly, Cut, Encodings, Plan, Together
from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program
from edgecut.passes import pipeline, recipes
from edgecut.passes.base import Context
from edgecut.passes.boundary.boundary import Boundary
from edgecut.passes.numerics import Difference, Runner
from edgecut.passes.partition import explain_text, planning
from edgecut.passes.partition.explain import explain
from edgecut.passes.partition.partition import Partition

ENCODINGS = ("float16", "int8", "int4", "step{step=0.25}", "step{step=1}", "klt-dct{step=0.5}")
CUT = "left+right"
SAMPLES = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("together") / "data.npz"
    np.savez(path, x=np.random.default_rng(1).normal(size=(SAMPLES, 3, 8, 8)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def program(data: Path) -> Program:
    """x -> left -> c, x -> right -> d, c + d -> y; both branches have the same weights, so errors add up."""
    program = Program.from_proto(_twins())
    for item in (
        recipes.make("simplify"),
        recipes.make("profile", edge="raspberrypi4", cloud="x86-vm"),
        # The same steps for both, so that they make the same errors.
        Boundary(calibration=data, encodings=ENCODINGS, samples=SAMPLES, probes=0),
    ):
        program = item.run(program, Context())
    return program


def _twins() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(4, 3, 3, 3)).astype(np.float32) / 3
    second = rng.normal(size=(4, 4, 3, 3)).astype(np.float32) / 3
    # Twice the weights: equal nodes would become one.
    arrays = {"w1": first, "w2": 2 * first, "w3": second, "w4": second / 2}
    arrays |= {"w5": rng.normal(size=(5, 4)).astype(np.float32)}
    node, pads = onnx.helper.make_node, [1, 1, 1, 1]
    nodes = [
        node("Conv", ["x", "w1"], ["left"], "left", pads=pads),
        node("Conv", ["x", "w2"], ["right"], "right", pads=pads),
        node("Conv", ["left", "w3"], ["c"], "c", pads=pads),
        node("Conv", ["right", "w4"], ["d"], "d", pads=pads),
        node("Add", ["c", "d"], ["sum"], "sum"),
        node("GlobalAveragePool", ["sum"], ["pool"], "pool"),
        node("Flatten", ["pool"], ["flat"], "flat"),
        node("Gemm", ["flat", "w5"], ["y"], "fc", transB=1),
    ]
    floats = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(n, floats, s) for n, s in (("x", [1, 3, 8, 8]), ("y", [1, 5]))]
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "twins", ends[:1], ends[1:], weights)
    opset = [onnx.helper.make_opsetid("", 17)]
    return onnx.shape_inference.infer_shapes(
        onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    )


def table(program: Program, name: str) -> dict[str, annotations.Encoding]:
    found = annotations.require(program.value(name), Encodings, "").table
    return {row.name: row for row in found}


def halves(program: Program, data: Path, encodings: tuple[str, str]) -> Difference:
    """Run what the artifacts are made of: edge with encoders, integers between, cloud with decoders."""
    plain = extract.named_cut(program, CUT)
    cut = Cut(plain.name, plain.crossing, encodings=encodings)
    items = coded.of_cut(program, cut)
    edge, (inner,) = coded.with_encoders(program, [cut])
    _, exact = extract.split(program, plain)
    _, cloud = extract.split(program, cut)
    assert exact is not None
    assert cloud is not None
    coded.take_coded(cloud, items)
    first = Runner(extract.subgraph(edge, ["x"], inner.crossing, "edge"))
    whole, second = Runner(program), Runner(cloud)
    difference = Difference()
    for sample in np.load(data)["x"][1::2, None]:
        sent = first({"x": sample})
        for item in items:
            if item.transform is not None:
                assert item.coder is not None
                numbers = sent[item.name]
                integers = np.sign(numbers) * np.floor(np.abs(numbers) + item.transform.rounding)
                sent[item.name] = np.clip(integers, item.coder.low, item.coder.high).astype(item.dtype)
            else:
                sent[item.name] = sent[item.name].astype(item.dtype)
        difference.add(whole({"x": sample}), second(sent))
    return difference


def plan(program: Program, **options: Any) -> tuple[Plan, list[str]]:
    warned: list[str] = []
    # So slow that bytes decide, and not the time of coding, which differs from run to run.
    item = Partition(**{"boundary": "auto", "cut": CUT, "up_mbps": 0.01, **options})
    made = pipeline.run([item], program.copy(), Context(warn=warned.append))
    return annotations.require(made.model, Plan, ""), warned


def known(found: Together | None) -> Together:
    assert found is not None
    return found


def test_tensors_that_cross_beside_others_have_tables_too(program: Program, data: Path) -> None:
    """Each with all else exact; `left` never crosses without `right` or the input."""
    for name in ("left", "right"):
        assert set(table(program, name)) == {"float32", *ENCODINGS}
    for encoding in ("int4", "step{step=1}"):
        for which in (0, 1):
            pair = tuple(encoding if i == which else "float32" for i in (0, 1))
            found = halves(program, data, (pair[0], pair[1]))
            row = table(program, ("left", "right")[which])[encoding]
            assert found.agreement == row.agreement
            # Sums of some hundred products in another order; 20 samples of noise at 15 to 40 dB.
            assert found.sqnr_db == pytest.approx(row.sqnr_db, abs=0.1)


def test_what_encodings_do_together_is_what_the_two_halves_do(program: Program, data: Path) -> None:
    made, _ = plan(program, min_sqnr=12.0, data=data)
    cut, together = made.chosen.cut, known(made.chosen.together)
    assert cut.crossing == ("left", "right")
    assert all(name != "float32" for name in cut.encodings)
    found = halves(program, data, (cut.encodings[0], cut.encodings[1]))
    assert together.samples == found.samples == SAMPLES // 2
    assert together.agreement == found.agreement
    assert together.sqnr_db == pytest.approx(found.sqnr_db, abs=0.1)
    assert together.accuracy is None


def budget_between(program: Program, encoding: str) -> float:
    """dB that both tensors keep to in this encoding by the sum of their tables, and break by measurement.

    The noise of one is that of the other, so amplitudes add up: 6 dB, where the sum of powers says 3.
    """
    noise = sum(10 ** (-table(program, name)[encoding].sqnr_db / 10) for name in ("left", "right"))
    return float(-10 * np.log10(noise)) - 1.0


def test_a_plan_that_breaks_the_budget_by_measurement_is_tightened(program: Program, data: Path) -> None:
    limit = budget_between(program, "int4")
    loose, warned = plan(program, min_sqnr=limit)
    assert loose.chosen.together is None
    assert any("was not measured" in sentence for sentence in warned)
    own = (loose.chosen.cut.encodings[0], loose.chosen.cut.encodings[1])
    assert halves(program, data, own).sqnr_db < limit
    tight, warned = plan(program, min_sqnr=limit, data=data)
    assert known(tight.chosen.together).sqnr_db >= limit
    assert tight.chosen.up_bytes > loose.chosen.up_bytes
    assert not warned
    again, _ = plan(program, min_sqnr=limit, data=data)
    assert again == tight


def test_where_nothing_else_is_left_the_error_says_what_was_measured(program: Program, data: Path) -> None:
    limit = budget_between(program, "int4")
    with pytest.raises(ConstraintError, match=r"left\+right@int4\+int4: its encodings together do .* dB"):
        plan(program, boundary="int4", min_sqnr=limit, data=data)


def test_explain_tells_what_was_measured_and_what_was_ruled_out(program: Program, data: Path) -> None:
    """The input is private and c and d run in the cloud: both branches cross in any cut."""
    pinned = program.copy()
    for node in pinned.nodes:
        if node.name in ("c", "d"):
            annotations.put(node, CloudOnly("no kernel"))
    item = Partition(
        boundary="auto",
        min_sqnr=budget_between(program, "int4"),
        data=data,
        private=("x",),
        declassify=("left", "right"),
        up_mbps=0.01,
    )
    posed = planning.pose(pinned, item.request(pinned))
    request, judged = item.settled(posed, lambda sentence: None)
    found = explain(posed, request, judged)
    assert found.chosen.cut.crossing == ("left", "right")
    assert found.ruled_out
    assert [b.name for b in found.bindings] == ["noise"]
    shown = explain_text.text(found)
    assert f"its encodings together: {known(found.together).describe()}" in shown
    assert f"  {found.ruled_out[0]}\n" in shown
    assert all(rival.cut.name not in found.ruled_out for rival in found.runners_up)
