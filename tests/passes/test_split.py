"""Parts of calibration data."""

from __future__ import annotations

import numpy as np
import pytest

from edgecut.frontends.data import Dataset
from edgecut.passes import split


def numbered(count: int) -> Dataset:
    return Dataset({"x": [np.array([i]) for i in range(count)]}, count, np.arange(count))


@pytest.mark.parametrize(("size", "count"), [(10, 3), (10, 9), (10, 10), (10, 50), (7, 1), (1100, 862)])
def test_some_are_from_all_over_the_data(size: int, count: int) -> None:
    found = split.some(numbered(size), count)
    at = [int(sample["x"][0]) for sample in found]
    assert len(found) == len(at) == min(size, count)
    assert found.labels is not None
    assert found.labels.tolist() == at == sorted(set(at))
    if 1 < count < size:
        assert (at[0], at[-1]) == (0, size - 1)
        # Evenly: no two neighbours are further apart than rounding makes them.
        assert max(np.diff(at)) - min(np.diff(at)) <= 1


def test_what_is_held_out_is_in_no_other_part() -> None:
    data = numbered(22)
    fit, test = ({int(s["x"][0]) for s in part(data)} for part in (split.fit, split.test))
    assert fit | test == set(range(22))
    assert not fit & test
    assert len(test) == 5
