"""Steps follow what the answer reacts to: never longer where it reacts more, equal where it reacts alike."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecut.ir import annotations, transform
from edgecut.ir.annotations import Coding, Encodings
from edgecut.ir.encoding import parse
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.boundary import sensitivity, statistics
from edgecut.passes.boundary.boundary import Boundary
from edgecut.passes.boundary.candidate import Candidate

POWERS = st.lists(st.floats(0, 1e6), min_size=1, max_size=9)
SHAPE = (1, 5, 8, 6)


def reader(gains: list[float], softmax: bool = False) -> Program:
    """Float32 ``t [1,5,8,6]``, each channel times its gain, and maybe made probabilities."""
    node = onnx.helper.make_node
    nodes = [node("Conv", ["t", "w"], ["y"])]
    if softmax:
        nodes += [node("GlobalAveragePool", ["y"], ["g"]), node("Flatten", ["g"], ["f"])]
        nodes += [node("Softmax", ["f"], ["p"])]
    w = onnx.numpy_helper.from_array(np.diag(gains).astype(np.float32).reshape(5, 5, 1, 1), "w")
    out = ("p", [1, 5]) if softmax else ("y", list(SHAPE))
    x, y = (
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (("t", list(SHAPE)), out)
    )
    graph = onnx.helper.make_graph(nodes, "reader", [x], [y], [w])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    return Program.from_proto(onnx.shape_inference.infer_shapes(model))


def weighed(program: Program, spread: float = 0.0, probes: int = 40) -> Coding:
    values = np.random.default_rng(0).normal(size=(24, *SHAPE[1:])).astype(np.float32) + spread
    candidate = Candidate("t", SHAPE, "float32", None, values, values[:1])
    feeds = [{"t": values[i : i + 1]} for i in range(len(values))]
    return sensitivity.weigh(statistics.of_value(values, 1), candidate, program, feeds, probes)


@given(POWERS)
def test_a_more_sensitive_channel_never_gets_a_longer_step(powers: list[float]) -> None:
    root = sensitivity.units(np.diag(powers))
    if root is None:
        assert not any(powers)
        return
    unit = np.diag(root)[np.argsort(powers)]
    assert (np.diff(unit) >= -1e-9 * unit.max()).all()


@given(st.lists(st.floats(0, 1e6), min_size=5, max_size=5), st.integers(9, 16))
def test_a_more_sensitive_band_never_gets_a_longer_step(powers: list[float], count: int) -> None:
    rising, falling = (sensitivity.emphasis(sorted(powers, reverse=r), count) for r in (False, True))
    assert (np.diff(rising) >= -1e-9).all()
    assert (np.diff(falling) <= 1e-9).all()
    assert np.exp(np.log(sensitivity.emphasis(powers, count)).mean()) == pytest.approx(1)
    assert np.abs(sensitivity.emphasis([powers[0]] * 5, count) - 1).max() < 1e-9


def test_what_reacts_alike_keeps_uniform_steps() -> None:
    """Exactly so (to float32's rounding), since a random sign does the same in each place."""
    coding = weighed(reader([1.0] * 5))
    rows = transform.unpack(coding.basis).reshape(5, 5)
    assert np.abs(rows @ rows.T - np.eye(5)).max() < 1e-4
    for text in (coding.weights, *coding.emphasis):
        assert np.abs(transform.unpack(text) - 1).max() < 1e-4


def test_a_channel_that_counts_twice_gets_half_the_step() -> None:
    """Nearly: what was measured is drawn towards equal steps, by up to a fifth of what channels that were
    decorrelated differ, and channels that do not count at all still get some."""
    weights = transform.unpack(weighed(reader([0.5, 1, 1, 2, 0])).weights)
    assert weights[1] == pytest.approx(weights[2], rel=0.05)
    assert 1.6 < weights[3] / weights[1] < 2.1
    assert 1.6 < weights[1] / weights[0] < 2.1
    assert 0 < weights[4] < 0.6 * weights[0]
    form = transform.make(parse("klt{step=1}"), weighed(reader([0.5, 1, 1, 2, 0])), SHAPE)
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (200, *form.coded_shape[1:])).astype(np.float32)
    moved = form.backward(noise) - form.backward(np.zeros_like(noise))
    damage = np.square(moved * np.array([0.5, 1, 1, 2, 0]).reshape(1, 5, 1, 1)).mean(axis=(0, 2, 3))[:4]
    # Of each channel about alike, which is best for their sum; with equal steps they would differ 16 times.
    assert damage.max() < 2 * damage.min()


def test_scores_are_looked_at_where_probabilities_stand_still() -> None:
    """A sure softmax: its probabilities are 1 and 0 whatever changes, its scores are not."""
    gains = [400.0, 100, 100, 100, 100]
    weights = transform.unpack(weighed(reader(gains, softmax=True), spread=1.0).weights)
    assert weights[0] / weights[1] == pytest.approx(4, rel=0.3)


def test_without_probes_or_reaction_units_stay_equal() -> None:
    assert weighed(reader([1.0] * 5), probes=0).weights == ""
    assert weighed(reader([0.0] * 5)).weights == ""


def test_weights_save_bytes_at_equal_noise(root: Path, profiled: Program) -> None:
    """Of the digits network's last feature map, at 25 dB: 92 in place of 117, when this was written."""
    calibration = root / "fixtures" / "digits_calibration.npz"
    names = tuple(f"klt-dct{{step={step}}}" for step in (1.2, 0.8, 0.6, 0.4))
    sizes = []
    for probes in (0, sensitivity.PROBES):
        item = Boundary(
            calibration=calibration, encodings=names, values=("relu_6",), samples=128, probes=probes
        )
        program = item.run(profiled.copy(), Context())
        rows = annotations.require(program.value("relu_6"), Encodings, "").table[1:]
        sizes.append(np.interp(25.0, [row.sqnr_db for row in rows], [row.mean_bytes for row in rows]))
    assert sizes[1] < 0.9 * sizes[0]
