"""Divides calibration data, so that what is fitted to one part is judged on another."""

from collections.abc import Callable, Iterable, Iterator
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
    return _part(dataset, lambda index: not is_held_out(index))


def test(dataset: Dataset) -> Dataset:
    """The samples to judge by; none of them is in `fit`."""
    return _part(dataset, is_held_out)


def halves(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Every other sample, and the others: each judges what was fitted to the other."""
    return _part(dataset, lambda index: index % 2 == 0), _part(dataset, lambda index: index % 2 == 1)


def first(dataset: Dataset, count: int) -> Dataset:
    """At most so many samples, from the start."""
    return _part(dataset, lambda index: index < count)


def some(dataset: Dataset, count: int) -> Dataset:
    """At most so many samples, from all over the data."""
    if count >= len(dataset):
        return dataset
    chosen = set(np.linspace(0, len(dataset) - 1, max(1, count)).round().astype(int).tolist())
    return _part(dataset, lambda index: index in chosen)


@dataclass(frozen=True)
class _Some:
    """Some items of an iterable, read anew each time."""

    whole: Iterable[NDArray[Any]]
    takes: Callable[[int], bool]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (item for i, item in enumerate(self.whole) if self.takes(i))


def _part(dataset: Dataset, takes: Callable[[int], bool]) -> Dataset:
    chosen = np.array([i for i in range(len(dataset)) if takes(i)], np.int64)
    labels = None if dataset.labels is None else dataset.labels[chosen]
    columns = {name: _Some(column, takes) for name, column in dataset.columns.items()}
    return Dataset(columns, len(chosen), labels)


__all__ = ["EVERY", "Sample", "first", "fit", "halves", "is_held_out", "some", "test"]
