"""Every sample a second time, mirrored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecut.frontends.data import Dataset
from edgecut.passes.augment import Kind


def apply(dataset: Dataset, kind: Kind) -> Dataset:
    """But for ``none`` every sample a second time, after all others, with its images mirrored left to right.

    Inputs that are no images (3-D per sample with 1 or 3 channels, first or last) stay as they are.
    """
    if kind == "none":
        return dataset
    columns = {name: _Flipped(column) for name, column in dataset.columns.items()}
    labels = None if dataset.labels is None else np.concatenate([dataset.labels, dataset.labels])
    return Dataset(columns, 2 * len(dataset), labels)


@dataclass(frozen=True)
class _Flipped:
    whole: Iterable[NDArray[Any]]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return chain(self.whole, map(_flip, self.whole))


def _flip(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 4:
        return array
    if array.shape[1] in (1, 3):
        return np.ascontiguousarray(array[:, :, :, ::-1])
    return np.ascontiguousarray(array[:, :, ::-1]) if array.shape[3] in (1, 3) else array
