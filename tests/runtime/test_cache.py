"""Which inputs get an earlier answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecut.runtime.cache import AnswerCache, distance

Arrays = hnp.arrays(np.uint8, hnp.array_shapes(max_dims=2, max_side=3))


def ask(cache: AnswerCache, x: np.ndarray) -> float | None:
    found = cache.get({"x": x})
    return None if found is None else float(found["y"][0])


def tell(cache: AnswerCache, x: np.ndarray, y: float) -> None:
    cache.put({"x": x}, {"y": np.array([y])})


@given(Arrays, Arrays)
def test_equal_inputs_and_no_others_share_an_answer(a: np.ndarray, b: np.ndarray) -> None:
    cache = AnswerCache()
    tell(cache, a, 1.0)
    assert ask(cache, a.copy()) == 1.0
    assert (ask(cache, b) == 1.0) == (a.shape == b.shape and np.array_equal(a, b))


def test_same_bytes_of_another_type_or_name_are_another_input() -> None:
    cache = AnswerCache()
    tell(cache, np.zeros(4, np.uint8), 1.0)
    assert ask(cache, np.zeros(4, np.int8)) is None
    assert ask(cache, np.zeros((2, 2), np.uint8)) is None
    assert cache.get({"z": np.zeros(4, np.uint8)}) is None


def test_answers_age() -> None:
    now = [0.0]
    cache = AnswerCache(max_age_s=10.0, clock=lambda: now[0])
    tell(cache, np.zeros(1), 1.0)
    now[0] = 10.0
    assert ask(cache, np.zeros(1)) == 1.0
    now[0] = 10.1
    assert ask(cache, np.zeros(1)) is None


@given(st.lists(st.integers(0, 9), max_size=40))
def test_size_is_bounded_and_the_least_recently_used_goes(order: list[int]) -> None:
    cache = AnswerCache(max_bytes=3 * 8)
    recent: list[int] = []
    for i in order:
        assert (ask(cache, np.array([i])) is not None) == (i in recent)
        recent = [*(r for r in recent if r != i), i][-3:]
        tell(cache, np.array([i]), float(i))


def test_changing_an_answer_does_not_change_the_cache() -> None:
    cache = AnswerCache()
    tell(cache, np.zeros(1), 1.0)
    found = cache.get({"x": np.zeros(1)})
    assert found is not None
    found["y"][0] = 9.0
    assert ask(cache, np.zeros(1)) == 1.0


def test_near_inputs_share_an_answer_but_a_drift_does_not() -> None:
    cache = AnswerCache(near=0.01)
    frame = np.full((8, 8), 100, np.uint8)
    tell(cache, frame, 1.0)
    assert ask(cache, frame + np.uint8(2)) == 1.0  # 2 / 255 is under a hundredth
    assert ask(cache, frame + np.uint8(3)) is None
    assert (cache.hits, cache.near_hits, cache.misses) == (0, 1, 1)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (np.zeros(4, np.uint8), np.full(4, 255, np.uint8), 1.0),
        (np.array([0.0, 1.0]), np.array([0.0, 2.0]), 0.25),
        (np.ones(3), np.ones(3), 0.0),
        (np.ones(3), np.full(3, 2.0), float("inf")),
        (np.array([np.nan, 1.0]), np.array([0.0, 1.0]), float("inf")),
        (np.ones(3), np.ones(4), float("inf")),
    ],
)
def test_distance_is_a_share_of_the_range(a: np.ndarray, b: np.ndarray, expected: float) -> None:
    assert distance({"x": a}, {"x": b}) == pytest.approx(expected)
