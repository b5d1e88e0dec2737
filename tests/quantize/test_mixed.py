"""Mixed precision keeps an accuracy budget with as few kernels in float as it can."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.frontends.data import Dataset
from edgecut.ir.annotations import (
    Cost,
    Group,
    Profile,
    Quantization,
    Sensitivity,
    Time,
    Wholes,
    drop,
    get,
    put,
)
from edgecut.ir.errors import ConstraintError, ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import split
from edgecut.passes.base import Context
from edgecut.passes.budget import Budget, Judge
from edgecut.passes.numerics import Runner, compare
from edgecut.passes.profile.profile import ProfileTargets
from edgecut.passes.quantize import explain, integers, mixed, region, savings
from edgecut.passes.quantize.static import Quantize

Build = Callable[..., Program]
Save = Callable[..., Path]


@pytest.fixture
def fragile(build: Build) -> Program:
    """Three layers; what the second one makes has a range that 8 bits are far too few for."""
    rng = np.random.default_rng(0)
    huge = np.ones((1, 8, 1, 1), np.float32)
    huge[0, 0] = 3000
    text = """net (float[1,8,6,6] x) => (float[1,8,6,6] y)
    { a = Conv(x, wa)  b = Conv(a, wb)  c = Conv(b, wc)  y = Relu(c) }"""
    weights = {n: np.asarray(rng.standard_normal((8, 8, 1, 1)) / 3, np.float32) for n in ("wa", "wb", "wc")}
    weights["wb"] = weights["wb"] * huge.reshape(8, 1, 1, 1)
    weights["wc"] = weights["wc"] / huge
    return build(text, **weights)


@pytest.fixture
def path(save: Save) -> Path:
    return save(x=np.random.default_rng(1).standard_normal((16, 8, 6, 6)).astype(np.float32))


def run(program: Program, **options: Any) -> tuple[Program, Context]:
    context = Context()
    item = Quantize(**options)
    item.check_before(program)
    return item.run(program.copy(), context), context


def decisions(program: Program) -> dict[str, Sensitivity]:
    return {row.node: row.sensitivity for row in explain.kernels(program)}


def test_only_the_fragile_part_returns_to_float(fragile: Program, path: Path) -> None:
    _, plain = run(fragile, calibration=path)
    assert float(plain.metrics["sqnr_db"]) < 20
    found, context = run(fragile, calibration=path, min_sqnr=30.0)
    unseen = [
        {"x": np.random.default_rng(2).standard_normal((1, 8, 6, 6)).astype(np.float32)} for _ in range(8)
    ]
    # 3 dB less than asked for: it was judged on four inputs, and these are others.
    assert compare(fragile, found, unseen).sqnr_db > 27
    assert 0 < float(context.metrics["float_nodes"]) < 4
    assert float(context.metrics["int8_nodes"]) > 0
    table = list(decisions(found).values())
    assert len(table) == 3
    assert {row.reason for row in table if not row.integer} == {mixed.BUDGET}


def test_the_fragile_kernel_is_seen_to_be_it(fragile: Program, path: Path) -> None:
    found, _ = run(fragile, calibration=path, explain=True)
    first, second, third = decisions(found).values()
    # Without a budget all run on integers, whatever that does.
    assert first.integer
    assert second.integer
    assert third.integer
    # What the second one gives is wrong in the channels that matter, by which the output is ruined ...
    assert second.output_sqnr_db < first.output_sqnr_db - 10
    # ... though measured over all channels it looks as good as any: 8 bits of the largest one.
    assert second.node_sqnr_db > 25
    assert first.nodes == (next(fragile.nodes).name,)


def test_annotations_survive_a_file(fragile: Program, path: Path, tmp_path: Path) -> None:
    found, _ = run(fragile, calibration=path, explain=True)
    found.save(tmp_path / "q.onnx")
    assert decisions(Program.load(tmp_path / "q.onnx")) == decisions(found)


def test_a_budget_that_holds_costs_nothing(fragile: Program, path: Path) -> None:
    _, context = run(fragile, calibration=path, min_sqnr=-60.0)
    assert context.metrics["float_nodes"] == 0


def test_a_budget_that_cannot_hold_is_an_error_and_changes_nothing(fragile: Program, path: Path) -> None:
    before = fragile.bytes()
    with pytest.raises(ConstraintError, match="nothing was changed"):
        run(fragile, calibration=path, min_sqnr=300.0)
    assert fragile.bytes() == before


def test_best_effort_goes_on_and_says_so(fragile: Program, path: Path) -> None:
    said: list[str] = []
    item = Quantize(calibration=path, min_sqnr=300.0, best_effort=True)
    item.run(fragile.copy(), Context(warn=said.append))
    assert any("cannot be met" in line for line in said)


def classifier(build: Build) -> Program:
    rng = np.random.default_rng(0)
    text = "net (float[1,16] x) => (float[1,4] y) { h = MatMul(x, wa)  r = Relu(h)  y = MatMul(r, wb) }"
    weights = {"wa": rng.standard_normal((16, 16)), "wb": rng.standard_normal((16, 4))}
    return build(text, **{n: w.astype(np.float32) for n, w in weights.items()})


def test_small_weights_have_a_budget_too(build: Build, save: Save) -> None:
    program = classifier(build)
    program.graph.opset_imports[""] = 21
    path = save(x=np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32))
    # One layer of 256 weights: 8 bits leave some 40 dB, 4 bits some 18.
    run(program, scheme="int8-weights", calibration=path, min_sqnr=30.0)
    with pytest.raises(ConstraintError, match="cannot be met"):
        run(program, scheme="int4-weights", calibration=path, min_sqnr=30.0)


def test_labels_set_the_budget(build: Build, save: Save) -> None:
    program, rng = classifier(build), np.random.default_rng(1)
    x = rng.standard_normal((40, 16)).astype(np.float32)
    labels = [int(Runner(program)({"x": row[None]})["y"].argmax()) for row in x]
    _, context = run(program, calibration=save(x=x, labels=np.asarray(labels)), max_accuracy_drop=20.0)
    # (The labels are what the float model says.)
    assert context.metrics["accuracy_before"] == 1.0
    assert float(context.metrics["accuracy"]) >= 0.8
    assert context.metrics["samples"] == 10


def test_budgets_that_cannot_be_judged(fragile: Program, build: Build, path: Path, save: Save) -> None:
    with pytest.raises(ModelError, match=r"no output of class scores.*min_sqnr"):
        run(fragile, calibration=path, min_agreement=0.9)
    rows = save(x=np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32))
    with pytest.raises(ModelError, match=r"no labels.*min_agreement"):
        run(classifier(build), calibration=rows, max_accuracy_drop=1.0)
    with pytest.raises(ModelError, match="too few"):
        run(classifier(build), calibration=rows, samples=3, min_agreement=0.9)
    with pytest.raises(UsageError, match=r"0\.99 for 99 %"):
        run(classifier(build), calibration=rows, min_agreement=99.0)
    with pytest.raises(UsageError, match="judged on data"):
        run(fragile, scheme="float16", min_sqnr=10.0)


def profiled(program: Program, *times: tuple[float, float]) -> Program:
    """As a profile of both precisions leaves it: seconds of each kernel in float and on integers."""
    copy = program.copy()
    for chain, (real, integer) in zip(region.select(copy).chains, times, strict=True):
        cost = Cost(edge=Time(real, "measured"), edge_int8=Time(integer, "measured"))
        put(chain[-1], cost)
    put(copy.model, Profile("raspberrypi4", "local"))
    return copy


def test_what_is_not_faster_stays_in_float(fragile: Program, path: Path) -> None:
    program = profiled(fragile, (2e-3, 1e-3), (2e-3, 1e-3), (1e-3, 3e-3))
    said: list[str] = []
    found = Quantize(calibration=path, explain=True).run(program, Context(warn=said.append))
    table = list(decisions(found).values())
    assert [row.integer for row in table] == [True, True, False]
    assert table[2].reason == mixed.NOT_FASTER
    assert table[2].saved_s == pytest.approx(-2e-3)
    assert "not faster on raspberrypi4" in said[0]


def stored(program: Program) -> list[str]:
    """The types in which the weights of each convolution are stored."""
    found = []
    for node in program.nodes:
        if node.op_type != "Conv" or node.inputs[1] is None:
            continue
        maker = node.inputs[1].producer()
        held = node.inputs[1] if maker is None else maker.inputs[0]
        assert held is not None
        found.append(str(held.dtype))
    return found


@pytest.fixture
def three(build: Build) -> Program:
    """Three layers with weights that are large enough to be stored apart."""
    rng = np.random.default_rng(0)
    text = (
        "net (float[1,16,6,6] x) => (float[1,16,6,6] y) { a = Conv(x, w0)  b = Conv(a, w1)  y = Conv(b, w2) }"
    )
    weights = {f"w{i}": np.asarray(rng.standard_normal((16, 16, 1, 1)) / 4, np.float32) for i in range(3)}
    return build(text, **weights)


def test_weights_of_what_is_not_faster_are_narrow_all_the_same(three: Program, save: Save) -> None:
    path = save(x=np.random.default_rng(1).standard_normal((16, 16, 6, 6)).astype(np.float32))
    program = profiled(three, (2e-3, 1e-3), (1e-3, 3e-3), (1e-3, 3e-3))
    plain, _ = run(program, calibration=path)
    assert stored(plain) == ["INT8", "FLOAT", "FLOAT"]
    narrow, context = run(program, calibration=path, narrow=True)
    assert stored(narrow) == ["INT8", "INT8", "INT8"]
    assert sum(n.op_type == "QuantizeLinear" for n in narrow.nodes) == sum(
        n.op_type == "QuantizeLinear" for n in plain.nodes
    ), "their kernels stay in float"
    # One kernel on integers and three with weights of 8 bits: each rounds to 1 in 127 at worst, 42 dB.
    assert float(context.metrics["sqnr_db"]) > 30
    # What the user keeps is kept as it is.
    last = list(three.nodes)[-1].name or ""
    kept, _ = run(program, calibration=path, narrow=True, keep=(last,))
    assert stored(kept) == ["INT8", "INT8", "FLOAT"]


def test_what_leaves_the_integers_for_accuracy_keeps_its_weights(build: Build, save: Save) -> None:
    rng = np.random.default_rng(0)
    huge = np.ones((1, 16, 1, 1), np.float32)
    huge[0, 0] = 3000
    text = (
        "net (float[1,16,6,6] x) => (float[1,16,6,6] y) { a = Conv(x, w0)  b = Conv(a, w1)  y = Conv(b, w2) }"
    )
    weights = {f"w{i}": np.asarray(rng.standard_normal((16, 16, 1, 1)) / 4, np.float32) for i in range(3)}
    weights["w1"], weights["w2"] = weights["w1"] * huge.reshape(16, 1, 1, 1), weights["w2"] / huge
    path = save(x=rng.standard_normal((16, 16, 6, 6)).astype(np.float32))
    found, _ = run(build(text, **weights), calibration=path, narrow=True, min_sqnr=25.0)
    assert stored(found)[0] == "INT8"
    assert "FLOAT" in stored(found)


def test_weights_of_large_depthwise_kernels_are_narrow_unless_they_are_kept(build: Build, save: Save) -> None:
    rng = np.random.default_rng(0)
    text = """net (float[1,8,12,12] x) => (float[1,32,12,12] y)
    { a = Conv <group = 8, pads = [3, 3, 3, 3]> (x, w0)  y = Conv(a, w1) }"""
    weights = {
        "w0": np.asarray(rng.standard_normal((8, 1, 7, 7)) / 7, np.float32),
        "w1": np.asarray(rng.standard_normal((32, 8, 1, 1)), np.float32),
    }
    path = save(x=rng.standard_normal((16, 8, 12, 12)).astype(np.float32))
    program = build(text, **weights)
    found, _ = run(program, calibration=path, narrow=True)
    assert stored(found) == ["INT8", "INT8"]
    assert next(program.nodes).name
    kept, _ = run(program, calibration=path, narrow=True, keep=(next(program.nodes).name or "",))
    assert stored(kept) == ["FLOAT", "INT8"]


def test_weights_are_narrow_where_nothing_is_faster(three: Program, save: Save) -> None:
    path = save(x=np.random.default_rng(1).standard_normal((16, 16, 6, 6)).astype(np.float32))
    program = profiled(three, *[(1e-3, 3e-3)] * 3)
    found, context = run(program, calibration=path, narrow=True)
    assert stored(found) == ["INT8"] * 3
    assert not any(n.op_type == "QuantizeLinear" for n in found.nodes)
    assert context.metrics["weights_stored"] == 3
    assert get(found.model, Quantization) is not None


def test_kernels_of_one_group_share_what_it_loses(fragile: Program, path: Path) -> None:
    program = profiled(fragile, (2e-3, 1e-3), (2e-3, 1e-3), (1e-3, 3e-3))
    _, second, third = region.select(program).chains
    drop(second[-1], Cost)
    for node in (*second, *third):
        put(node, Group(third[-1].name or ""))
    saved = savings.savings(program, region.select(program))
    # The second and the third have as many operations; what the second would save alone is not known.
    assert [s.seconds for s in saved.values()] == pytest.approx([1e-3, -1e-3, -1e-3])
    assert saved[second].known == "measured"
    found = Quantize(calibration=path, explain=True).run(program, Context())
    assert [row.integer for row in decisions(found).values()] == [True, False, False]


def test_16_bits_are_judged_by_their_own_times(fragile: Program, path: Path) -> None:
    fragile.graph.opset_imports[""] = 21
    chains = region.select(fragile).chains
    for chain in chains:
        real, narrow, wide = (Time(seconds, "measured") for seconds in (2e-3, 1e-3, 9e-3))
        put(chain[-1], Cost(edge=real, edge_int8=narrow, edge_int16=wide))
    put(fragile.model, Profile("raspberrypi4", "local"))
    said: list[str] = []
    found = Quantize(scheme="int16x8", calibration=path).run(fragile.copy(), Context(warn=said.append))
    assert not any(n.op_type == "QuantizeLinear" for n in found.nodes)
    assert "int16x8 is not faster on raspberrypi4" in said[0]
    found = Quantize(calibration=path).run(fragile, Context())
    assert any(n.op_type == "QuantizeLinear" for n in found.nodes)


def test_16_bits_that_nobody_timed_are_used(fragile: Program, path: Path) -> None:
    fragile.graph.opset_imports[""] = 21
    put(fragile.model, Profile("raspberrypi4", "local"))
    found = Quantize(scheme="int16x8", calibration=path).run(fragile, Context())
    assert any(n.op_type == "QuantizeLinear" for n in found.nodes)


def test_a_loss_smaller_than_converting_is_borne(fragile: Program, path: Path) -> None:
    program = profiled(fragile, (2e-3, 1e-3), (1e-3, 1.000001e-3), (2e-3, 1e-3))
    found = Quantize(calibration=path, explain=True).run(program, Context())
    second = list(decisions(found).values())[1]
    assert second.integer
    assert second.reason == mixed.CONVERTED


def test_a_difference_within_the_noise_is_none(fragile: Program) -> None:
    program = profiled(fragile, (2e-3, 1e-3), (2e-3, 1e-3), (2e-3, 1e-3))
    last = region.select(program).chains[-1][-1]
    put(last, Cost(edge=Time(1e-3, "measured", 0.2), edge_int8=Time(1.1e-3, "measured", 0.2)))
    saved = savings.savings(program, region.select(program))
    assert list(saved.values())[-1].seconds == 0


def test_where_nothing_is_faster_the_program_stays_as_it_is(fragile: Program, path: Path) -> None:
    program = profiled(fragile, (1e-3, 2e-3), (1e-3, 2e-3), (1e-3, 2e-3))
    found = Quantize(calibration=path).run(program.copy(), Context())
    assert not any(n.op_type == "QuantizeLinear" for n in found.nodes)
    assert get(found.model, Quantization) is None
    # Its costs still hold.
    assert get(found.model, Profile) is not None


def timed_as_wholes(program: Program, *seconds: float) -> Program:
    """With the times of the mixed whole, of that on integers, and of that in float."""
    copy = program.copy()
    put(copy.model, Profile("here", "local", edge_int8=Wholes(*(Time(s, "measured") for s in seconds))))
    return copy


@pytest.mark.parametrize(
    ("seconds", "integers"),
    [
        ((2e-3, 1.9e-3, 3e-3), [True, True, True]),
        ((2e-3, 1.99e-3, 3e-3), [True, True, False]),  # too near to each other to tell
        ((2e-3, 2.1e-3, 1.8e-3), [False, False, False]),
        ((2e-3, 1.8e-3, 1.7e-3), [False, False, False]),
        ((2e-3, 2.1e-3, 2.1e-3), [True, True, False]),
    ],
)
def test_times_of_the_whole_have_the_last_word(
    fragile: Program, path: Path, seconds: tuple[float, ...], integers: list[bool]
) -> None:
    program = timed_as_wholes(profiled(fragile, (2e-3, 1e-3), (2e-3, 1e-3), (1e-3, 3e-3)), *seconds)
    found = Quantize(calibration=path, explain=True).run(program.copy(), Context())
    assert [row.integer for row in decisions(found).values()] == integers
    assert any(n.op_type == "QuantizeLinear" for n in found.nodes) == any(integers)
    last = list(decisions(found).values())[-1]
    assert (last.reason == mixed.WHOLE) == integers[-1]
    context = Context()
    Quantize(calibration=path).run(program, context)
    assert context.metrics["int8_nodes"] == len(region.select(program).nodes) * sum(integers) // 3


def test_the_budget_takes_first_what_saves_least_for_its_damage(build: Build, save: Save) -> None:
    rng = np.random.default_rng(0)
    text = (
        "net (float[1,8,4,4] x) => (float[1,8,4,4] y) { a = Conv(x, wa)  b = Conv(a, wb)  y = Conv(b, wc) }"
    )
    weights = {n: rng.standard_normal((8, 8, 1, 1)).astype(np.float32) for n in ("wa", "wb", "wc")}
    path = save(x=rng.standard_normal((32, 8, 4, 4)).astype(np.float32))
    # Much alike, but for what they save.
    program = profiled(build(text, **weights), (9e-3, 1e-3), (1.1e-3, 1e-3), (9e-3, 1e-3))
    plain = Quantize(calibration=path, explain=True)
    context = Context()
    plain.run(program.copy(), context)
    aim = float(context.metrics["sqnr_db"]) + 0.2
    found = Quantize(calibration=path, min_sqnr=aim).run(program, Context())
    assert [row.integer for row in decisions(found).values()] == [True, False, True]


def test_without_both_precisions_time_saved_is_predicted(fragile: Program) -> None:
    found = region.select(fragile)
    last = [chain[-1] for chain in found.chains]
    for node, seconds in zip(last, (1e-3, 2e-3, 4e-3), strict=True):
        put(node, Cost(edge=Time(seconds, "measured")))
    put(fragile.model, Profile("raspberrypi4", "local"))
    saved = list(savings.savings(fragile, found).values())
    assert {s.known for s in saved} == {"predicted"}
    assert 0 < saved[0].seconds < 1e-3
    assert saved[2].seconds > saved[1].seconds > saved[0].seconds


def test_a_model_that_stays_in_float_is_as_it_was(build: Build, save: Save) -> None:
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w)  y = HardSwish(a) }"
    program = build(text, w=np.ones((4, 4, 1, 1), np.float32))
    path = save(x=np.random.default_rng(1).standard_normal((16, 4, 8, 8)).astype(np.float32))
    program = timed_as_wholes(program, 2e-3, 2e-3, 1e-3)
    found = Quantize(calibration=path).run(program.copy(), Context())
    assert [n.op_type for n in found.nodes] == ["Conv", "HardSwish"]  # not in two, as integers have it


@pytest.mark.parametrize(("joining", "integer"), [(3e-3, True), (1.1e-3, False)])
def test_what_a_float_kernel_takes_with_it_counts(
    build: Build, save: Save, joining: float, integer: bool
) -> None:
    """A Concat of a float and of integers is one of floats, so what it saves is lost with the pool before."""
    text = """net (float[1,8,4,4] x) => (float[1,8,4,4] y) { a = Conv(x, wa)  b = Conv(x, wb)
        p = MaxPool<kernel_shape = [1, 1]>(a)  c = Concat<axis = 1>(p, b)  y = Conv(c, wc) }"""
    rng = np.random.default_rng(0)
    shapes = {"wa": (8, 8, 1, 1), "wb": (8, 8, 1, 1), "wc": (8, 16, 1, 1)}
    program = build(text, **{n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()})
    path = save(x=rng.standard_normal((16, 8, 4, 4)).astype(np.float32))
    pool, join = (1e-3, 1.5e-3), (joining, 1e-3)
    program = profiled(program, (2e-3, 1e-3), (2e-3, 1e-3), pool, join, (2e-3, 1e-3))
    found = Quantize(calibration=path, explain=True).run(program, Context())
    table = {row.node: row.sensitivity.integer for row in explain.kernels(found)}
    of = {n.op_type: table[n.name or ""] for n in found.nodes if (n.name or "") in table}
    assert of == {"Conv": True, "MaxPool": integer, "Concat": integer}


def chain_of_layers(build: Build, seed: int) -> Program:
    """Five convolutions, in some of which one channel is far larger than the others."""
    rng = np.random.default_rng(seed)
    widths = [4, *rng.choice([8, 16, 24, 32], 4), 8]
    weights, body = {}, []
    for i, (reads, makes) in enumerate(itertools.pairwise(widths)):
        weight = rng.standard_normal((makes, reads, 1, 1)) / np.sqrt(reads)
        if rng.random() < 0.5:
            weight[rng.integers(makes)] *= float(rng.choice([20, 100, 400]))
        weights[f"w{i}"] = weight.astype(np.float32)
        body.append(f"c{i} = Conv({f'r{i - 1}' if i else 'x'}, w{i})  r{i} = Relu(c{i})")
    weights["last"] = np.asarray(rng.standard_normal((6, 8, 1, 1)) / 3, np.float32)
    text = f"net (float[1,4,8,8] x) => (float[1,6,8,8] y) {{ {'  '.join(body)}  y = Conv(r4, last) }}"
    return build(text, **weights)


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_nearly_as_much_is_saved_as_by_the_best_of_all_choices(build: Build, seed: int) -> None:
    program = chain_of_layers(build, seed)
    program = ProfileTargets(edge="raspberrypi4", cloud="x86-vm", int8=True).run(program, Context())
    rng = np.random.default_rng(seed + 100)
    columns = {"x": [rng.standard_normal((1, 4, 8, 8)).astype(np.float32) for _ in range(24)]}
    dataset = Dataset(columns, 24)
    model = integers.calibrated(program.copy(), split.fit(dataset), "mse")
    search, judge = mixed.Search(model, frozenset()), Judge(program, split.test(dataset), None)
    chains = list(search.saved)
    whole = sum(saving.seconds for saving in search.saved.values())
    choices = [c for k in range(len(chains) + 1) for c in itertools.combinations(chains, k)]
    found: dict[tuple[savings.Chain, ...], tuple[float, float]] = {}
    for floats in choices:
        names = frozenset(n.name or "" for chain in floats for n in chain)
        saved = sum(s.seconds for chain, s in search.saved.items() if chain not in floats)
        found[floats] = judge.quality(model.quantized(names)).sqnr_db, saved
    for more in (2, 5, 10):
        budget = Budget(min_sqnr=found[()][0] + more)
        best = max(saved for sqnr, saved in found.values() if sqnr >= budget.min_sqnr)  # type: ignore[operator]
        made = search.within(budget, judge, lambda: None)
        assert made.quality is not None
        assert budget.holds(made.quality)
        saved = sum(k.sensitivity.saved_s for k in explain.kernels(made.program) if k.sensitivity.integer)
        # Damages are taken to add up, which they nearly do: a tenth of all is what that may cost.
        assert saved >= best - 0.1 * whole
