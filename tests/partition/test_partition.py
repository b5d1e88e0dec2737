"""The partition pass on hand-annotated programs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir
import pytest

from edgecut.ir import annotations, extract
from edgecut.ir.annotations import Group, ImageInput, Origin, Placement, Plan, Upload
from edgecut.ir.errors import ConstraintError, ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import pipeline
from edgecut.passes.base import Context
from edgecut.passes.partition import reader
from edgecut.passes.partition.cuts import to_cut
from edgecut.passes.partition.enumerate import all_cuts
from edgecut.passes.partition.objective import Rates
from edgecut.passes.partition.partition import Partition
from edgecut.passes.partition.solver import Solver

Make = Callable[..., Any]
Write = Callable[..., str]


@pytest.fixture
def network(tmp_path: Path) -> Write:
    """Writes a network file and gives its path as text."""

    def write(up: float, down: float = 1000.0, rtt: float = 0.0) -> str:
        path = tmp_path / f"net{up}.toml"
        path.write_text(f'title = "t"\nup_mbps = {up}\ndown_mbps = {down}\nrtt_ms = {rtt}\n')
        return str(path)

    return write


def plan(program: Program, network: str, cut: str | None = None) -> Plan:
    out = pipeline.run([Partition(network=network, cut=cut)], program, Context(), use_cache=False)
    found = annotations.get(out.model, Plan)
    assert found is not None
    return found


def names(found: Plan) -> list[str]:
    return [figures.cut.name for figures in found.cuts]


# A byte per millisecond: 0.008 Mbps. Sending x takes 0.1 s, a 1 s, b 0.01 s.
BYTE_PER_MS = 0.008


@pytest.fixture
def bottleneck(make: Make, node: Make) -> Program:
    """x(100) -> a(1000): cheap -> b(10): cheap -> c: dear on the edge."""
    program: Program = make(
        [
            node("a", ("x",), 1000, edge=0.02, cloud=0.01),
            node("b", ("a",), 10, edge=0.02, cloud=0.01),
            node("c", ("b",), 4, edge=5.0, cloud=0.1),
        ],
        ["c"],
    )
    return program


def test_cuts_at_the_bottleneck_when_the_edge_gets_there_cheaply(bottleneck: Program, network: Write) -> None:
    found = plan(bottleneck, network(BYTE_PER_MS))
    assert found.chosen.cut.crossing == ("b",)
    assert found.chosen.edge_s == pytest.approx(0.04)
    assert found.chosen.cloud_s == pytest.approx(0.1)
    assert found.chosen.up_bytes == 10
    assert found.chosen.down_bytes == 4
    answer = 4 * 8e-6 / 1000
    assert found.chosen.latency_s == pytest.approx(0.04 + 0.1 + 0.01 + answer)


def test_other_optima_and_fallbacks_come_after_the_chosen_cut(bottleneck: Program, network: Write) -> None:
    found = plan(bottleneck, network(BYTE_PER_MS))
    assert set(names(found)) == {"b", "cloud-only", "edge-only"}
    by_name = {f.cut.name: f for f in found.cuts}
    # x costs 90 bytes more than b and saves 0.02 s: worth it from 4500 bytes/s on.
    assert by_name["b"].max_mbps == pytest.approx(4500 * 8e-6)
    assert by_name["cloud-only"].min_mbps == pytest.approx(4500 * 8e-6)
    assert by_name["cloud-only"].max_mbps is None
    assert by_name["edge-only"].min_mbps == 0.0


def test_a_fallback_that_is_best_nowhere_has_an_empty_range(make: Make, node: Make, network: Write) -> None:
    program = make([node("a", ("x",), 4, edge=1.0, cloud=2.0)], ["a"])
    found = plan(program, network(1.0))
    assert names(found) == ["edge-only", "cloud-only"]
    assert (found.cuts[1].min_mbps, found.cuts[1].max_mbps) == (0.0, 0.0)


def test_a_tensor_with_many_readers_is_paid_once(make: Make, node: Make, network: Write) -> None:
    readers = [node(f"r{i}", ("a",), 4, edge=1.0, cloud=0.0) for i in range(3)]
    program = make([node("a", ("x",), 50, edge=0.0, cloud=0.0), *readers], [r.name for r in readers])
    found = plan(program, network(BYTE_PER_MS))
    assert found.chosen.cut.name == "a"
    assert found.chosen.up_bytes == 50


def test_quantized_tensors_cross_as_integers(make: Make, node: Make, network: Write) -> None:
    program = make(
        [
            node("conv", ("x",), 400, edge=0.0, group="g"),
            node("q", ("conv",), 10, edge=0.0, group="g"),
            node("dq", ("q",), 40, op="DequantizeLinear"),
            node("big", ("dq",), 400, edge=9.0, cloud=0.0),
        ],
        ["big"],
    )
    found = plan(program, network(BYTE_PER_MS))
    assert found.chosen.cut.crossing == ("q",)
    assert found.chosen.up_bytes == 10


def test_groups_stay_whole(make: Make, node: Make, network: Write) -> None:
    """The smallest tensor lies inside a group, where nothing may be cut."""
    program = make(
        [
            node("a", ("x",), 1, edge=0.0, group="g"),
            node("b", ("a",), 60, edge=0.0, group="g"),
            node("c", ("b",), 4, edge=9.0, cloud=0.0),
        ],
        ["c"],
    )
    assert [cut.name for cut in all_cuts(program)] == ["cloud-only", "b", "edge-only"]
    assert plan(program, network(BYTE_PER_MS)).chosen.cut.name == "b"
    with pytest.raises(ConstraintError, match=r"runs as one: Add a, Add b \(cut at 'b'"):
        plan(program, network(BYTE_PER_MS), "a")


def test_cloud_only_operators_take_their_readers_along(make: Make, node: Make, network: Write) -> None:
    program = make(
        [
            node("a", ("x",), 10, edge=0.0),
            node("b", ("a",), 10, edge=None),
            node("c", ("b",), 10, edge=0.0, cloud=5.0),
        ],
        ["c"],
    )
    found = plan(program, network(100.0))
    assert found.chosen.cloud_s == pytest.approx(5.1)
    assert "edge-only" not in names(found)
    edge_only = next(b for b in found.baselines if b.name == "edge-only")
    assert edge_only.latency_s is None
    assert edge_only.reason == "the edge cannot run Add b: no kernel"
    with pytest.raises(ConstraintError, match="the edge cannot run Add b: no kernel"):
        plan(program, network(100.0), "c")


def test_groups_pinned_against_each_other_are_named(make: Make, node: Make, network: Write) -> None:
    program = make([node("a", ("x",), 10, edge=None), node("b", ("a",), 10, cloud=None)], ["b"])
    with pytest.raises(ConstraintError, match=r"edge cannot run Add a: no kernel.*Add b: .*no cloud time"):
        plan(program, network(1.0))


def test_a_forced_cut_comes_first_and_the_rest_follows(bottleneck: Program, network: Write) -> None:
    found = plan(bottleneck, network(BYTE_PER_MS), "a")
    assert names(found)[0] == "a"
    assert set(names(found)) == {"a", "b", "cloud-only", "edge-only"}
    assert (found.cuts[0].min_mbps, found.cuts[0].max_mbps) == (0.0, 0.0)
    best = plan(bottleneck, network(BYTE_PER_MS), "b")
    assert best == plan(bottleneck, network(BYTE_PER_MS))


def test_an_unknown_cut_is_a_usage_error(bottleneck: Program, network: Write) -> None:
    with pytest.raises(UsageError, match=r"no tensor named 'nope'.*--list-cuts"):
        plan(bottleneck, network(1.0), "nope")


def test_every_cut_can_be_forced_by_its_name(make: Make, node: Make, network: Write) -> None:
    """Among them two that differ only in which output the edge computes."""
    program = make(
        [
            node("a", ("x",), 10),
            node("l", ("a",), 4),
            node("r", ("a", "y"), 4),
            node("end", ("l", "r"), 4),
        ],
        ["l", "r", "end"],
        {"x": 8, "y": 9},
    )
    cuts = all_cuts(program)
    # Down-sets of a -> {l, r} -> end: {}, a, al, ar, alr, all.
    assert len(cuts) == 6
    assert len({cut.name for cut in cuts}) == 6
    for cut in cuts:
        assert extract.named_cut(program, cut.name) == cut
        found = plan(program, network(1.0), cut.name)
        assert found.chosen.cut == cut
        assert {*cut.edge_outputs} <= {"l", "r", "end"}


def test_every_node_gets_a_side(bottleneck: Program, network: Write) -> None:
    out = pipeline.run([Partition(network=network(BYTE_PER_MS))], bottleneck, Context())
    sides = {node.name: annotations.get(node, Placement) for node in out.nodes}
    assert sides == {"a": Placement("edge"), "b": Placement("edge"), "c": Placement("cloud")}


def test_image_baselines_pay_for_what_would_be_uploaded(bottleneck: Program, network: Write) -> None:
    value = bottleneck.value("x")
    annotations.put(value, ImageInput((0.0,), (1.0,), Upload(400, 100, 30, 95)))
    found = {b.name: b for b in plan(bottleneck, network(BYTE_PER_MS)).baselines}
    assert list(found) == ["edge-only", "cloud-only float32", "cloud-only uint8", "cloud-only jpeg q95"]
    assert [b.up_bytes for b in found.values()] == [0, 400, 100, 30]
    assert found["edge-only"].latency_s == pytest.approx(5.04)
    as_uint8, as_jpeg = found["cloud-only uint8"].latency_s, found["cloud-only jpeg q95"].latency_s
    assert as_uint8 is not None
    assert as_jpeg is not None
    assert as_uint8 - as_jpeg == pytest.approx(0.07)


def test_without_a_jpeg_measured_there_is_no_jpeg_baseline(bottleneck: Program, network: Write) -> None:
    annotations.put(bottleneck.value("x"), ImageInput((0.0,), (1.0,)))
    found = {b.name: b.up_bytes for b in plan(bottleneck, network(1.0)).baselines}
    assert found == {"edge-only": 0, "cloud-only float32": 400, "cloud-only uint8": 100}


def test_a_round_trip_is_paid_once_and_moves_the_choice(bottleneck: Program, network: Write) -> None:
    near, far = plan(bottleneck, network(1.0, rtt=20)), plan(bottleneck, network(1.0, rtt=10_000))
    assert far.chosen.cut.name == "edge-only"
    assert near.chosen.cut.name == "cloud-only"
    answer = 4 * 8e-6 / 1000
    assert near.chosen.latency_s == pytest.approx(0.12 + 100 * 8e-6 + 0.02 + answer)


def test_a_program_without_costs_is_sent_back_to_profile(bottleneck: Program, network: Write) -> None:
    nameless = bottleneck.copy()
    del nameless.model.metadata_props["edgecut.profile"]
    with pytest.raises(ModelError, match="run the profile pass first"):
        plan(nameless, network(1.0))
    for key in ("edgecut.cost", "edgecut.group"):
        broken = bottleneck.copy()
        del next(iter(broken.nodes)).metadata_props[key]
        with pytest.raises(ModelError, match=r"^a: .*run the profile pass first"):
            plan(broken, network(1.0))


@pytest.mark.parametrize("cost", ["NaN", "-1.0", "1e999"])
def test_senseless_costs_are_an_error_that_names_the_node(
    bottleneck: Program, network: Write, cost: str
) -> None:
    first = next(iter(bottleneck.nodes))
    first.metadata_props["edgecut.cost"] = (
        f'{{"edge":{{"seconds":{cost},"source":"measured"}},"cloud":{{"seconds":1.0,"source":"measured"}}}}'
    )
    with pytest.raises(ModelError, match=r"^a: "):
        plan(bottleneck, network(1.0))


def test_one_node_and_one_side_is_a_plan(make: Make, node: Make, network: Write) -> None:
    program = make([node("a", ("x",), 4, edge=None)], ["a"])
    assert names(plan(program, network(1.0))) == ["cloud-only"]
    assert [cut.name for cut in all_cuts(program)] == ["cloud-only"]


def test_groups_in_a_circle_are_an_error(make: Make, node: Make, network: Write) -> None:
    program = make(
        [node("a", ("x",), 4, group="g"), node("b", ("a",), 4), node("c", ("b",), 4, group="g")], ["c"]
    )
    assert annotations.get(program.value("a").producer(), Group) == Group("c")
    with pytest.raises(ModelError, match="depend on each other"):
        plan(program, network(1.0))


def test_beyond_the_limit_only_cuts_at_one_tensor_are_listed(make: Make, node: Make) -> None:
    wide = [node(f"w{i}", ("a",), 4) for i in range(12)]
    end = node("end", tuple(w.name for w in wide), 4)
    program = make([node("a", ("x",), 4), *wide, end, node("last", ("end",), 4)], ["last"])
    assert len(all_cuts(program)) == 2**12 + 3
    assert [c.name for c in all_cuts(program, limit=100)] == ["cloud-only", "a", "end", "edge-only"]


def test_a_graph_of_a_thousand_layers_is_no_trouble(make: Make, node: Make, network: Write) -> None:
    rng = np.random.default_rng(0)
    layers, last = [], "x"
    for i in range(1000):
        size = int(rng.integers(50, 1000))
        layers.append(node(f"n{i}", (last,), size, edge=1e-3, cloud=1e-4))
        last = f"n{i}"
    program = make(layers, [last])
    assert len(all_cuts(program)) == 1001
    found = plan(program, network(BYTE_PER_MS))
    assert 1 <= len(found.cuts) < 20


# A byte takes 2^-10 s, so that prices which are meant to be equal are.
DELAY = 2.0**-10


def best(program: Program) -> str:
    problem, members = reader.read(program), reader.group_members(program)
    cloud = Solver(problem).best(Rates(edge_s=1.0, cloud_s=1.0, up_byte=DELAY))
    return to_cut(program, problem, members, cloud).name


def test_of_equal_cuts_the_one_that_sends_less_is_taken(make: Make, node: Make) -> None:
    """Though it leaves less to the edge."""
    program = make(
        [
            node("a", ("x",), 20, edge=0.0, cloud=10 * DELAY),
            node("b", ("a",), 4, edge=9.0, cloud=0.0),
        ],
        ["b"],
        {"x": 10},
    )
    assert best(program) == "cloud-only"


def test_of_equal_cuts_that_send_the_same_the_one_with_more_on_the_edge_is_taken(
    make: Make, node: Make
) -> None:
    free = [node(f"n{i}", (f"n{i - 1}" if i else "x",), 10, edge=0.0, cloud=0.0) for i in range(5)]
    program = make([*free, node("end", ("n4",), 4, edge=9.0, cloud=0.0)], ["end"], {"x": 10})
    assert best(program) == "n4"


@pytest.fixture
def network_with_head(make: Make, node: Make) -> Program:
    """Two branches of a backbone [1,2,4,4], pooled to [1,2,1,1], and a head of two layers."""
    program: Program = make(
        [
            node("conv", ("x",), 32),
            node("pool", ("conv",), 2),
            node("dense", ("pool",), 2),
            node("softmax", ("dense",), 2),
        ],
        ["softmax"],
    )
    for name, shape in {"conv": (1, 2, 4, 4), "pool": (1, 2, 1, 1), "dense": (1, 2)}.items():
        program.value(name).shape = oir.Shape(shape)
    return program


def test_mode_features_cuts_after_the_last_spatial_tensor(network_with_head: Program) -> None:
    assert chosen_by(network_with_head, mode="features") == "conv"


def test_mode_features_cuts_before_the_head_that_is_named(network_with_head: Program) -> None:
    assert chosen_by(network_with_head, mode="features", head="dense") == "pool"
    # A node of the imported model that a pass has merged into "dense", and the tensor that the head reads.
    dense = next(n for n in network_with_head.nodes if n.name == "dense")
    annotations.put(dense, Origin(("matmul", "bias")))
    assert chosen_by(network_with_head, mode="features", head="matmul") == "pool"
    network_with_head.value("pool").name = "pooled"
    assert chosen_by(network_with_head, mode="features", head="pooled") == "pooled"
    with pytest.raises(UsageError, match=r"--head: no node named 'dens' \(did you mean 'dense'"):
        chosen_by(network_with_head, mode="features", head="dens")
    with pytest.raises(UsageError, match="goes with mode=features"):
        chosen_by(network_with_head, head="dense")


def test_mode_features_keeps_to_what_is_legal(bottleneck: Program, network_with_head: Program) -> None:
    with pytest.raises(ConstraintError, match="no tensor has dimensions in space or time"):
        chosen_by(bottleneck, mode="features")
    with pytest.raises(ConstraintError, match="memory; the budget is"):
        chosen_by(network_with_head, mode="features", max_memory_mb=1e-5)


def chosen_by(program: Program, **options: Any) -> str:
    out = pipeline.run([Partition(**options)], program, Context(), use_cache=False)
    found = annotations.get(out.model, Plan)
    assert found is not None
    return found.chosen.cut.name
