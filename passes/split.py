"""Divides calibration data, so that what is fitted to one part is judged on another."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecut.frontends.data import Dataset, Sample

# Of so many consecutive samples the last one is held out.
EVERY = 4


def is_held_out(index: int) -> bool:
    """Whether a sample is kept from fitting, to judge by."""
    return index % EVERY == EVERY - 1


def fit(dataset: Dataset) -> Dataset:
    """The samples to fit to."""
    return _part(dataset, False)


def test(dataset: Dataset) -> Dataset:
    """The samples to judge by; none of them is in `fit`."""
    return _part(dataset, True)


@dataclass(frozen=True)
class _Some:
    """Every part of an iterable, read anew each time."""

    whole: Iterable[NDArray[Any]]
    held_out: bool

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (item for i, item in enumerate(self.whole) if is_held_out(i) == self.held_out)


def _part(dataset: Dataset, held_out: bool) -> Dataset:
    chosen = np.array([i for i in range(len(dataset)) if is_held_out(i) == held_out], np.int64)
    labels = None if dataset.labels is None else dataset.labels[chosen]
    columns = {name: _Some(column, held_out) for name, column in dataset.columns.items()}
    return Dataset(columns, len(chosen), labels)


__all__ = ["EVERY", "Sample", "fit", "is_held_out", "test"]
