"""In which parts of a step linear interpolation of integers comes, and what moves halves upwards."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecut.targets.tflite import interpolation
from edgecut.targets.tflite.ops.resize import Axis

MODES = ("half_pixel", "align_corners", "asymmetric")


@given(st.integers(1, 30), st.integers(1, 60), st.sampled_from(MODES))
def test_positions_are_whole_numbers_of_parts_and_of_no_fewer(size: int, new: int, mode: str) -> None:
    count = interpolation.parts((size,), (new,), mode)
    assert count is not None
    at = np.clip(Axis(size, new, new / size, mode).positions, 0, size - 1)
    assert np.abs(at * count - np.rint(at * count)).max() < 1e-6 * count
    for fewer in {count // p for p in (2, 3, 5, 7) if count % p == 0}:
        assert np.abs(at * fewer - np.rint(at * fewer)).max() > 1e-6


@pytest.mark.parametrize(("new", "count"), [(2, 16), (3, 36), (4, 64), (8, 256)])
def test_both_dimensions_of_an_image_count(new: int, count: int) -> None:
    assert interpolation.parts((5, 7), (5 * new, 7 * new), "half_pixel") == (9 if new == 3 else count)
    assert interpolation.exact(count) == (new != 3)


def test_other_coordinates_are_not_known() -> None:
    assert interpolation.parts((5,), (10,), "half_pixel_symmetric") is None
    assert not interpolation.exact(None)


@given(st.integers(-(1 << 16), 1 << 16), st.sampled_from([2, 16, 64, 256]))
def test_a_nudge_moves_halves_upwards_and_nothing_else(number: int, count: int) -> None:
    exact = Fraction(number, count)
    assert round(exact + Fraction(interpolation.nudge(count))) == (exact + Fraction(1, 2)).__floor__()
