"""The prune pass: whole channels leave, and what they never contributed is not missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgecut.ir.annotations import Cost, Profile, get, put
from edgecut.ir.errors import ConstraintError, EdgecutError, ModelError, UsageError
from edgecut.ir.program import Program, static_shape
from edgecut.ir.verify import verify
from edgecut.passes.base import Context
from edgecut.passes.numerics import MAX_SQNR_DB, Runner, compare
from edgecut.passes.prune import rules
from edgecut.passes.prune.channels import Prune

RNG = np.random.default_rng(0)


Build = Callable[..., Program]
Save = Callable[..., Path]


def weight(*shape: int) -> np.ndarray:
    fan = int(np.prod(shape[1:])) or 1
    numbers = np.random.default_rng(sum(shape)).standard_normal(shape) * np.sqrt(2 / fan)
    return np.asarray(numbers, np.float32)


def halved(*shape: int, dead: list[int]) -> np.ndarray:
    """Weights whose results on some channels are zero."""
    array = weight(*shape)
    array[dead] = 0
    return array


def pruned(program: Program, **options: Any) -> tuple[Program, Context]:
    context = Context()
    item = Prune(**options)
    item.check_before(program)
    return item.run(program.copy(), context), context


def assert_sound(found: Program, before: Program) -> None:
    """Shapes as recorded are those that ONNX infers, and the user sees the same inputs and outputs."""
    onnx.checker.check_model(found.proto(), full_check=True)
    verify(found)
    assert found.inputs == before.inputs
    assert found.outputs == before.outputs
    bare = found.proto()
    del bare.graph.value_info[:]
    inferred = Program.from_proto(onnx.shape_inference.infer_shapes(bare, strict_mode=True, data_prop=True))
    for name, value in inferred.values().items():
        assert static_shape(value) == static_shape(found.value(name)), name


DEAD = [1, 2, 5, 6]
# Each network has groups of eight channels of which half are always zero, so that half can go unnoticed.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "residual addition": (
        """net (float[1,3,8,8] x) => (float[1,5,8,8] y)
        { a = Conv<pads=[1,1,1,1]>(x, wa, ba)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, wb)
          s = Add(r, b)  y = Conv(s, wc) }""",
        {"wa": halved(8, 3, 3, 3, dead=DEAD), "ba": halved(8, dead=DEAD), "wb": halved(8, 8, 3, 3, dead=DEAD),
         "wc": weight(5, 8, 1, 1)},
    ),
    "depthwise": (
        """net (float[1,3,8,8] x) => (float[1,5,4,4] y)
        { a = Conv(x, wa, ba)  r = Clip(a, zero, six)
          b = Conv<group=8, pads=[1,1,1,1], strides=[2,2]>(r, wb)  y = Conv(b, wc) }""",
        {"wa": halved(8, 3, 1, 1, dead=DEAD), "ba": halved(8, dead=DEAD), "wb": halved(8, 1, 3, 3, dead=DEAD),
         "wc": weight(5, 8, 1, 1), "zero": np.float32(0), "six": np.float32(6)},
    ),
    "depth multiplier": (
        """net (float[1,3,8,8] x) => (float[1,5,8,8] y)
        { a = Conv(x, wa)  b = Conv<group=8>(a, wb)  y = Conv(b, wc) }""",
        {"wa": halved(8, 3, 1, 1, dead=DEAD), "wb": halved(16, 1, 1, 1, dead=[2, 3, 4, 5, 10, 11, 12, 13]),
         "wc": weight(5, 16, 1, 1)},
    ),
    "grouped": (
        """net (float[1,3,8,8] x) => (float[1,5,8,8] y)
        { a = Conv(x, wa)  b = Conv<group=2>(a, wb)  y = Conv(b, wc) }""",
        {"wa": halved(8, 3, 1, 1, dead=DEAD), "wb": halved(8, 4, 1, 1, dead=DEAD), "wc": weight(5, 8, 1, 1)},
    ),
    "concatenation and split": (
        """net (float[1,3,8,8] x) => (float[1,5,8,8] y)
        { a = Conv(x, wa)  b = Conv(x, wb)  c = Concat<axis=1>(a, b)  p, q = Split<axis=1>(c, parts)
          d = Concat<axis=1>(q, p)  y = Conv(d, wc) }""",
        {"wa": halved(8, 3, 1, 1, dead=DEAD), "wb": halved(8, 3, 1, 1, dead=[0, 1, 2, 3]),
         "wc": weight(5, 16, 1, 1), "parts": np.array([8, 8], np.int64)},
    ),
    "flatten to dense": (
        """net (float[1,3,8,8] x) => (float[1,5] y)
        { a = Conv(x, wa)  p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)  f = Flatten(p)
          h = Gemm<transB=1>(f, wb, bb)  r = Relu(h)  y = Gemm(r, wc) }""",
        {"wa": halved(8, 3, 1, 1, dead=DEAD), "wb": halved(8, 128, dead=DEAD), "bb": halved(8, dead=DEAD),
         "wc": weight(8, 5)},
    ),
    "reshape after a transposition": (
        """net (float[1,3,8,8] x) => (float[1,5] y)
        { a = Conv(x, wa)  t = Transpose<perm=[0,2,3,1]>(a)  f = Reshape(t, shape)  y = MatMul(f, wb) }""",
        {"wa": halved(8, 3, 1, 1, dead=DEAD), "wb": weight(512, 5), "shape": np.array([1, 512], np.int64)},
    ),
    "squeeze and excite": (
        """net (float[1,3,8,8] x) => (float[1,5,8,8] y)
        { a = Conv(x, wa)  m = GlobalAveragePool(a)  s = Conv(m, ws)  e = Conv(s, we)  g = Sigmoid(e)
          k = Mul(a, g)  y = Conv(k, wc) }""",
        {"wa": halved(8, 3, 1, 1, dead=DEAD), "ws": halved(8, 8, 1, 1, dead=DEAD),
         "we": halved(8, 8, 1, 1, dead=DEAD), "wc": weight(5, 8, 1, 1)},
    ),
    "batch normalization and transposed convolution": (
        """net (float[1,3,8,8] x) => (float[1,5,16,16] y)
        { a = Conv(x, wa)  n = BatchNormalization(a, one, nil, nil, one)
          y = ConvTranspose<strides=[2,2]>(n, wt) }""",
        {"wa": halved(8, 3, 1, 1, dead=DEAD), "one": np.ones(8, np.float32), "nil": np.zeros(8, np.float32),
         "wt": weight(8, 5, 2, 2)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_dead_channels_leave_without_a_trace(build: Build, name: str) -> None:
    text, weights = NETWORKS[name]
    program = build(text, **weights)
    found, context = pruned(program, ratio=0.5)
    assert_sound(found, program)
    inputs = [{"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(3)]
    # Only the order in which float32 sums are taken has changed: 24 bits are 144 dB, sums cost some of them.
    assert compare(program, found, inputs).sqnr_db > 110
    assert float(context.metrics["macs"]) < 0.75 * float(context.metrics["macs_before"])
    assert found.weight_bytes() < 0.75 * program.weight_bytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_inputs_and_outputs_are_in_no_group(build: Build, name: str) -> None:
    text, weights = NETWORKS[name]
    program = build(text, **weights)
    outside = {spec.name for spec in (*program.inputs, *program.outputs)}
    groups = rules.analyse(program).groups()
    assert groups
    assert not outside & {value.name for group in groups for value, _ in group.axes}


def test_an_operator_without_a_rule_keeps_its_channels(build: Build) -> None:
    text = """net (float[1,3,8,8] x) => (float[1,5,8,8] y)
    { a = Conv(x, wa)  l = LRN<size=3>(a)  y = Conv(l, wc) }"""
    program = build(text, wa=weight(8, 3, 1, 1), wc=weight(5, 8, 1, 1))
    assert rules.analyse(program).groups() == []
    with pytest.raises(ModelError, match="no removable channel"):
        pruned(program, ratio=0.5)


def copies(build: Build) -> Program:
    """Every second channel is a mixture of the others, so that the weights after it can do without."""
    first = weight(4, 3, 3, 3)
    text = """net (float[1,3,12,12] x) => (float[1,5,10,10] y)
    { a = Conv(x, wa)  b = Conv(a, wb)  y = Relu(b) }"""
    program: Program = build(
        text, wa=np.concatenate([first, first[::-1] * 0.9 + first * 0.05]), wb=weight(5, 8, 1, 1)
    )
    return program


def test_refitting_makes_up_for_what_others_can_do(build: Build, save: Save) -> None:
    program = copies(build)
    path = save(x=RNG.standard_normal((16, 3, 12, 12)).astype(np.float32))
    unseen = [{"x": RNG.standard_normal((1, 3, 12, 12)).astype(np.float32)} for _ in range(4)]
    blind, _ = pruned(program, ratio=0.5)
    refitted, context = pruned(program, ratio=0.5, calibration=path)
    assert_sound(refitted, program)
    assert compare(program, blind, unseen).sqnr_db < 20
    # The least ridge that is tried leaves an error of about 1e-4 of the signal.
    assert compare(program, refitted, unseen).sqnr_db > 50
    assert float(context.metrics["sqnr_db"]) > 50


def test_refitting_does_not_learn_noise_by_heart(build: Build, save: Save) -> None:
    """Far more weights than samples: without samples held out, the fit would be perfect and worthless."""
    text = "net (float[1,64] x) => (float[1,8] y) { h = MatMul(x, wa)  r = Relu(h)  y = MatMul(r, wb) }"
    program = build(text, wa=weight(64, 64), wb=weight(64, 8))
    path = save(x=RNG.standard_normal((12, 64)).astype(np.float32))
    unseen = [{"x": RNG.standard_normal((1, 64)).astype(np.float32)} for _ in range(64)]
    blind, _ = pruned(program, ratio=0.25, calibration=path)
    _, context = pruned(program, ratio=0.25, calibration=path)
    honest = compare(program, blind, unseen).sqnr_db
    # Three samples are held out: their estimate may be off by a few dB, a memorized fit by a hundred.
    assert float(context.metrics["sqnr_db"]) < honest + 6


def test_channels_with_effect_outlive_channels_with_large_weights(build: Build, save: Save) -> None:
    """A channel with large weights whose numbers never pass the Relu is worth nothing."""
    wa, ba = weight(8, 3, 1, 1), np.zeros(8, np.float32)
    wa[:4] *= 10
    ba[:4] = -1000
    text = (
        "net (float[1,3,8,8] x) => (float[1,5,8,8] y) { a = Conv(x, wa, ba)  r = Relu(a)  y = Conv(r, wb) }"
    )
    program = build(text, wa=wa, ba=ba, wb=weight(5, 8, 1, 1))
    path = save(x=RNG.standard_normal((8, 3, 8, 8)).astype(np.float32))
    inputs = [{"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)}]
    by_effect, _ = pruned(program, ratio=0.5, calibration=path)
    assert compare(program, by_effect, inputs).sqnr_db > 60
    assert compare(program, pruned(program, ratio=0.5)[0], inputs).sqnr_db < 10


def test_widths_are_kept_multiples(build: Build) -> None:
    text, weights = NETWORKS["depthwise"]
    found, _ = pruned(build(text, **weights), ratio=0.7, multiple=4)
    assert static_shape(found.value("b")) == (1, 4, 4, 4)


def test_costs_of_the_old_graph_are_forgotten(build: Build) -> None:
    text, weights = NETWORKS["depthwise"]
    program = build(text, **weights)
    for node in program.nodes:
        put(node, Cost(macs=1))
    put(program.model, Profile("a", "b"))
    found, _ = pruned(program, ratio=0.5)
    assert not any(get(n, Cost) for n in found.nodes)
    assert get(found.model, Profile) is None


def test_off_changes_nothing(build: Build) -> None:
    program = copies(build)
    before = program.bytes()
    assert Prune().run(program, Context()).bytes() == before


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ratio": 1.0}, UsageError),
        ({"ratio": -0.1}, UsageError),
        ({"ratio": 0.5, "multiple": 0}, UsageError),
        ({"ratio": 0.5, "importance": "effect"}, UsageError),
        ({"ratio": 0.01}, ModelError),
    ],
)
def test_wrong_options(build: Build, options: dict[str, Any], error: type[EdgecutError]) -> None:
    with pytest.raises(error):
        pruned(copies(build), **options)


def test_too_few_samples_to_refit(build: Build, save: Save) -> None:
    with pytest.raises(ModelError, match="too few"):
        pruned(copies(build), ratio=0.5, calibration=save(x=np.zeros((2, 3, 12, 12), np.float32)))


def test_a_trained_network_survives(zoo: Path, save: Save) -> None:
    model = onnx.load(zoo / "models" / "resnet8_cifar10.onnx")
    program = Program.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True))
    data = np.load(zoo / "data" / "cifar10" / "cifar10_test_lossless_250.npz")
    calibration = np.load(zoo / "data" / "cifar10" / "cifar10_train_calib_200.npz")["images"]
    found, context = pruned(program, ratio=0.1, calibration=save(input=calibration.astype(np.float32)))
    assert_sound(found, program)
    assert float(context.metrics["macs"]) < 0.9 * float(context.metrics["macs_before"])
    run = Runner(found)
    scores = [next(iter(run({"input": x[None].astype(np.float32)}).values())) for x in data["images"]]
    accuracy = np.mean(np.argmax(np.concatenate(scores), axis=1) == data["labels"])
    # 87.6 % unpruned; without the refit the same channels leave 35 %.
    assert accuracy > 0.8


def test_exactness_has_a_ceiling(build: Build) -> None:
    program = copies(build)
    inputs = [{"x": RNG.standard_normal((1, 3, 12, 12)).astype(np.float32)}]
    assert compare(program, program.copy(), inputs).sqnr_db == MAX_SQNR_DB


def test_a_budget_that_does_not_hold_is_an_error_and_changes_nothing(build: Build, save: Save) -> None:
    program = copies(build)
    before = program.bytes()
    path = save(x=RNG.standard_normal((16, 3, 12, 12)).astype(np.float32))
    with pytest.raises(ConstraintError, match="budget cannot be met"):
        pruned(program, ratio=0.7, calibration=path, min_sqnr=60.0)
    assert program.bytes() == before
    found, context = pruned(program, ratio=0.5, calibration=path, min_sqnr=40.0)
    assert float(context.metrics["sqnr_db"]) >= 40
    assert found.weight_bytes() < program.weight_bytes()


def test_only_so_many_operations_as_asked_for_are_saved(build: Build, save: Save) -> None:
    text, weights = NETWORKS["residual addition"]
    program = build(text, **weights)
    path = save(x=RNG.standard_normal((16, 3, 8, 8)).astype(np.float32))
    _, context = pruned(program, macs=0.3, calibration=path)
    share = float(context.metrics["macs"]) / float(context.metrics["macs_before"])
    # The channels of so small a network come in steps of some 20 % of the operations.
    assert 0.45 < share <= 0.7
    with pytest.raises(ConstraintError, match="cannot save"):
        pruned(program, macs=0.999, calibration=path)
