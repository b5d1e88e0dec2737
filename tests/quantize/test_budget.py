"""What counts as a smaller error, and what as chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgecut.frontends.data import Dataset
from edgecut.ir.program import Program
from edgecut.passes import split
from edgecut.passes.budget import Judge, is_less

Build = Callable[..., Program]

BEFORE = np.random.default_rng(0).lognormal(-7, 1, 64)
NOISE = np.random.default_rng(1).lognormal(0, 0.3, 64)
ONE_SAMPLE = np.where(np.arange(64) == BEFORE.argmax(), 0.01, 1.05)


@pytest.mark.parametrize(
    ("after", "less"),
    [
        pytest.param(0.9 * BEFORE, True, id="all samples gain"),
        pytest.param(0.8 * NOISE * BEFORE, True, id="most samples gain"),
        pytest.param(BEFORE, False, id="nothing changes"),
        pytest.param(ONE_SAMPLE * BEFORE, False, id="one large error goes, all others grow"),
        pytest.param(np.where(np.median(BEFORE) > BEFORE, 0.1, 1.2) * BEFORE, False, id="the sum grows"),
        pytest.param(1.1 * BEFORE, False, id="all samples lose"),
    ],
)
def test_an_error_is_less_where_the_sum_and_most_samples_say_so(after: np.ndarray, less: bool) -> None:
    assert is_less(after, BEFORE) is less


def test_halves_share_no_sample_and_leave_none_out() -> None:
    whole = Dataset({"x": [np.array(i) for i in range(7)]}, 7, np.arange(7))
    first, second = split.halves(whole)
    parts = [[int(sample["x"]) for sample in half] for half in (first, second)]
    assert parts == [[0, 2, 4, 6], [1, 3, 5]]
    assert [half.labels.tolist() for half in (first, second) if half.labels is not None] == parts


def test_errors_are_those_before_a_softmax(build: Build) -> None:
    body = "h = MatMul(x, w)  y = Softmax(h)"
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 3)).astype(np.float32)
    other = (weight * 1.1).astype(np.float32)
    with_softmax, without = (
        [build(f"net (float[1,4] x) => (float[1,3] {out}) {{ {text} }}", w=w) for w in (weight, other)]
        for text, out in ((body, "y"), ("y = MatMul(x, w)", "y"))
    )
    samples = [{"x": rng.standard_normal((1, 4)).astype(np.float32)} for _ in range(5)]
    found, expected = (
        Judge(first, samples, None).errors(second) for first, second in (with_softmax, without)
    )
    # The same sums in float32, in ONNX Runtime twice.
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert expected.mean() == pytest.approx(0.01, rel=1e-3)


def test_answers_that_are_not_kept_are_computed_anew(build: Build) -> None:
    """Those of segmentation do not fit into memory; results are the same."""
    body = "h = MatMul(x, w)  y = Softmax(h)"
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 3)).astype(np.float32)
    first, second = (
        build(f"net (float[1,4] x) => (float[1,3] y) {{ {body} }}", w=w) for w in (weight, weight * 1.1)
    )
    samples = [{"x": rng.standard_normal((1, 4)).astype(np.float32)} for _ in range(5)]
    labels = np.array([0, 1, 2, 0, 1])
    # Two answers of scores and probabilities, 12 bytes each.
    whole, some = Judge(first, samples, labels), Judge(first, samples, labels, kept_bytes=48)
    assert np.array_equal(whole.errors(second), some.errors(second))
    assert whole.difference(second) == some.difference(second)
    assert whole.quality(second, 3) == some.quality(second, 3)
