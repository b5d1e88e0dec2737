"""The profile pass: every group gets its costs, what is known is kept, and changes are noticed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgecut.ir import annotations
from edgecut.ir.annotations import CloudOnly, Cost, Group, Profile
from edgecut.ir.errors import ConstraintError, ModelError, UsageError
from edgecut.ir.extract import duplicable_nodes
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.profile import report
from edgecut.passes.profile.profile import ProfileTargets

PREDICTED = ProfileTargets(edge="raspberrypi4", cloud="nvidia-t4")
LOCAL = ProfileTargets(runs=10)


def run(item: ProfileTargets, program: Program) -> Program:
    copy = program.copy()
    item.check_before(copy)
    return item.run(copy, Context())


def costs(program: Program) -> dict[str, Cost]:
    found = {n.name or "": annotations.get(n, Cost) for n in program.nodes}
    return {name: cost for name, cost in found.items() if cost is not None}


@pytest.fixture(scope="module")
def measured(convnet: Program) -> Program:
    return run(LOCAL, convnet)


def test_every_node_is_in_a_group_whose_last_node_has_the_cost(convnet: Program) -> None:
    program = run(PREDICTED, convnet)
    free = duplicable_nodes(program)
    groups = {n.name: annotations.require(n, Group, "").id for n in program.nodes if n not in free}
    assert set(groups.values()) == set(costs(program))
    assert groups["conv1"] == groups["relu1"] == "relu1"


def test_predictions_are_marked_and_the_same_every_time(convnet: Program) -> None:
    first, second = run(PREDICTED, convnet), run(PREDICTED, convnet)
    assert first.bytes() == second.bytes()
    profile = annotations.require(first.model, Profile, "")
    assert (profile.edge, profile.cloud) == ("raspberrypi4", "nvidia-t4")
    for cost in costs(first).values():
        assert cost.edge is not None
        assert cost.cloud is not None
        assert {cost.edge.source, cost.cloud.source} == {"predicted"}


def test_measured_groups_add_up_to_the_measured_whole(measured: Program) -> None:
    profile = annotations.require(measured.model, Profile, "")
    found = report.of(measured)
    for side, total, conditions in (
        ("edge", profile.edge_total, profile.edge_conditions),
        ("cloud", profile.cloud_total, profile.cloud_conditions),
    ):
        assert total is not None
        assert conditions is not None
        assert total.source == "measured"
        assert total.seconds > 0
        # Scaling divides by a sum of floats: equal but for rounding.
        assert found.sum(side) == pytest.approx(total.seconds, rel=1e-9)  # type: ignore[arg-type]
        assert conditions.operators_s
        assert conditions.runs >= 5
        assert conditions.load_s
        assert conditions.runtime


def test_the_edge_is_timed_by_litert_itself_and_reaches_the_right_nodes(measured: Program) -> None:
    profile = annotations.require(measured.model, Profile, "")
    assert profile.edge_conditions is not None
    assert profile.edge_conditions.attribution == "LiteRT profiler"
    assert profile.edge_conditions.memory_bytes
    conv = costs(measured)["relu1"]
    assert conv.macs == 16 * 16 * 16 * 27
    assert conv.edge is not None
    # The first convolution has half of all the work: it cannot be free.
    assert profile.edge_total is not None
    assert conv.edge.seconds > 0.05 * profile.edge_total.seconds


def test_memory_of_both_sides_holds_the_weights_and_grows_with_them(make: Callable[..., Program]) -> None:
    def memory(width: int) -> tuple[int, int]:
        weights = {"w": np.ones((256, width), np.float32)}
        program = make(
            [helper.make_node("MatMul", ["x", "w"], ["y"], "dense")], {"x": (1, 256)}, ["y"], weights
        )
        profile = annotations.require(run(LOCAL, program).model, Profile, "")
        assert profile.edge_conditions is not None
        assert profile.cloud_conditions is not None
        return profile.edge_conditions.memory_bytes or 0, profile.cloud_conditions.memory_bytes or 0

    small, large = memory(16), memory(32768)
    size = 256 * 32768 * 4
    # Both runtimes hold the weights at least once more than the small model does; each may hold copies.
    assert all(size < b - a < 8 * size for a, b in zip(small, large, strict=True))


def test_what_is_known_is_not_measured_again(measured: Program) -> None:
    again = run(LOCAL, measured)
    assert costs(again) == costs(measured)
    fresh = run(ProfileTargets(runs=10, again=True), measured)
    assert costs(fresh) != costs(measured)  # clocks never repeat to the last digit


def test_another_target_replaces_only_its_side(measured: Program) -> None:
    other = run(ProfileTargets(cloud="x86-vm", runs=10), measured)
    before, after = costs(measured), costs(other)
    assert {n: c.edge for n, c in before.items()} == {n: c.edge for n, c in after.items()}
    assert all(c.cloud is not None and c.cloud.source == "predicted" for c in after.values())


def test_other_threads_make_costs_stale(convnet: Program) -> None:
    one = run(PREDICTED, convnet)
    four = run(ProfileTargets(edge="raspberrypi4", cloud="nvidia-t4", threads=4), one)
    slow, fast = costs(one)["dense"].edge, costs(four)["relu1"].edge
    assert slow is not None
    assert fast is not None
    assert four.fingerprint() != one.fingerprint()
    relu = costs(one)["relu1"].edge
    assert relu is not None
    assert fast.seconds < relu.seconds


def test_a_changed_shape_makes_costs_stale(make, convnet: Program) -> None:  # type: ignore[no-untyped-def]
    def net(size: int) -> Program:
        weights = {"w": np.ones((8, 4, 3, 3), np.float32)}
        nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
        program: Program = make(nodes, {"x": (1, 4, size, size)}, ["y"], weights)
        return program

    old = run(PREDICTED, net(8))
    changed = net(16)
    annotations.copy(old.model, changed.model)
    for a, b in zip(old.nodes, changed.nodes, strict=True):
        annotations.copy(a, b)
    assert costs(run(PREDICTED, changed)) == costs(run(PREDICTED, net(16)))


def test_what_the_edge_cannot_run_is_measured_in_the_cloud_and_around_it(make) -> None:  # type: ignore[no-untyped-def]
    """Det has no counterpart in TFLite: what comes before and after it is still timed on the edge."""
    weights = {"w1": np.ones((8, 4, 1, 1), np.float32), "w2": np.ones((1, 16), np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], "before"),
        helper.make_node("Det", ["c"], ["d"], "det"),
        helper.make_node("Unsqueeze", ["d", "axis"], ["u"], "unsqueeze"),
        helper.make_node("MatMul", ["u", "w2"], ["y"], "after"),
    ]
    weights["axis"] = np.array([2], np.int64)
    program = run(LOCAL, make(nodes, {"x": (1, 4, 6, 6)}, ["y"], weights))
    found = costs(program)
    assert found["det"].edge is None
    assert found["det"].cloud is not None
    node = next(n for n in program.nodes if n.name == "det")
    assert annotations.require(node, CloudOnly, "").reason
    for name in ("before", "after"):
        time = found[name].edge
        assert time is not None
        assert time.source == "measured"
    assert annotations.require(program.model, Profile, "").edge_total is None


def test_a_microcontroller_refuses_what_cannot_fit(zoo: Path) -> None:
    import onnx

    model = onnx.load(str(zoo / "models" / "mobilenetv2_imagenet.onnx"))
    program = Program.from_proto(onnx.shape_inference.infer_shapes(model))
    with pytest.raises(ConstraintError, match=r"activations, and esp32-s3 memory is 8 MB|weights") as caught:
        run(ProfileTargets(edge="esp32-s3", cloud="x86-vm"), program)
    assert "MB" in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (ProfileTargets(edge="nvidia-t4"), "no edge target"),
        (ProfileTargets(cloud="raspberrypi4"), "no cloud target"),
        (ProfileTargets(edge="toaster"), "unknown device"),
        (ProfileTargets(runs=-1), "at least 0"),
    ],
)
def test_wrong_options_are_one_clear_error(convnet: Program, item: ProfileTargets, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(item, convnet)


def test_unknown_shapes_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    program = make([helper.make_node("Relu", ["x"], ["y"], "relu")], {"x": (1, 4)}, ["y"])
    program.graph.inputs[0].shape = None
    with pytest.raises(ModelError, match="static shape"):
        run(PREDICTED, program)


def test_a_report_survives_its_own_json(measured: Program, tmp_path: Path) -> None:
    from edgecut.ir import typed

    found = report.of(measured)
    path = tmp_path / "p.json"
    path.write_text(typed.dumps(found, indent=2))
    assert report.read(path) == found
    path.write_text("{}")
    with pytest.raises(ModelError, match="no profile"):
        report.read(path)


def test_both_precisions_are_timed(convnet: Program) -> None:
    found = run(ProfileTargets(edge="raspberrypi4", cloud="x86-vm", int8=True), convnet)
    both = [cost for cost in costs(found).values() if cost.edge_int8 is not None]
    # The convolutions and the fully connected layer, at least, have integer kernels ...
    assert len(both) >= 2
    # ... which a Pi's figures say are faster where there is much to compute.
    heavy = max(both, key=lambda cost: cost.macs)
    assert heavy.edge is not None
    assert heavy.edge_int8 is not None
    assert heavy.edge_int8.seconds < heavy.edge.seconds
    assert heavy.edge_int8.source == "predicted"
    # The program itself is as it was, and the times stay when it is profiled again.
    assert [n.op_type for n in found.nodes] == [n.op_type for n in convnet.nodes]
    again = run(ProfileTargets(edge="raspberrypi4", cloud="x86-vm"), found)
    assert costs(again) == costs(found)


def test_kernels_of_16_bits_are_timed_apart(convnet: Program) -> None:
    found = costs(run(ProfileTargets(runs=5, int16x8=True), convnet)).values()
    assert {c.edge_int16.source for c in found if c.edge_int16 is not None} == {"measured"}
    assert not any(c.edge_int8 for c in found)
    # No figures of a Pi say how fast it is on them.
    predicted = costs(
        run(ProfileTargets(edge="raspberrypi4", cloud="x86-vm", int16x8=True), convnet)
    ).values()
    assert not any(c.edge_int16 for c in predicted)


def test_both_precisions_are_measured_here(convnet: Program) -> None:
    found = run(ProfileTargets(runs=5, int8=True), convnet)
    known = [cost.edge_int8 for cost in costs(found).values() if cost.edge_int8 is not None]
    assert {time.source for time in known} == {"measured"}
    assert sum(time.seconds for time in known) > 0


def test_both_precisions_are_timed_as_wholes_too(convnet: Program) -> None:
    both = ProfileTargets(runs=10, int8=True)
    found = run(both, convnet)
    wholes = annotations.require(found.model, Profile, "").edge_int8
    assert wholes is not None
    assert min(wholes.mixed.seconds, wholes.integers.seconds, wholes.floats.seconds) > 0
    assert wholes.floats.source == "measured"
    # Known already, so not measured again.
    assert annotations.require(run(both, found).model, Profile, "").edge_int8 == wholes
    far = run(ProfileTargets(edge="raspberrypi4", cloud="nvidia-t4", int8=True), convnet)
    assert annotations.require(far.model, Profile, "").edge_int8 is None


def test_what_a_loop_runs_counts_as_the_loop(make: Callable[..., Program], tmp_path: Path) -> None:
    from edgecut.profilers import litert, ondevice

    node = helper.make_node("GRU", ["x", "w", "r"], ["y", "h"], "layer", hidden_size=64)
    weights = {n: np.ones((1, 192, 64), np.float32) / 99 for n in "wr"}
    path = tmp_path / "model.tflite"
    path.write_bytes(litert.emit(make([node], {"x": (32, 1, 64)}, ["h"], weights)))
    (signature,) = ondevice.profile(path, 1, 20, 0.1).signatures
    assert [o.name for o in signature.operators if not o.delegated] == ["WHILE"]
    assert not any(o.name.startswith(("Sigmoid", "TanH", "Fully")) for o in signature.operators)
    # Its own time, not that of a loop whose every operator is timed.
    assert sum(o.seconds for o in signature.operators) == pytest.approx(signature.whole.median_s, rel=1e-6)
