"""The user's data as samples of the graph inputs: ``.npy``, ``.npz``, or a folder of images."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecut.frontends import arrays, images
from edgecut.ir.errors import ModelError
from edgecut.ir.program import TensorSpec

LABELS = ("labels", "label", "y")

Sample = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Dataset:
    """Samples in the file's order. It may be gone through any number of times; one sample is in memory."""

    columns: Mapping[str, Iterable[NDArray[Any]]]
    """For each graph input its arrays, of exactly its shape and type."""
    size: int
    labels: NDArray[np.int64] | None = None
    """Class index of each sample."""

    def __len__(self) -> int:
        return self.size

    def constants(self) -> list[str]:
        """Names of the inputs that are the same in all samples, where there are several."""
        first: Sample | None = None
        same: list[str] = []
        for sample in self:
            if first is None:
                first, same = sample, list(sample)
                continue
            same = [name for name in same if np.array_equal(sample[name], first[name])]
            if not same:
                break
        return same if len(self) > 1 else []

    def __iter__(self) -> Iterator[Sample]:
        """One dict per sample, from input name to array.

        Raises:
            ModelError: A sample cannot be read, or holds NaN or infinite values.
        """
        names = list(self.columns)
        for arrays_ in islice(zip(*self.columns.values(), strict=False), self.size):
            yield dict(zip(names, arrays_, strict=True))


def load(
    path: Path, inputs: Sequence[TensorSpec], limit: int | None = None, classes: int | None = None
) -> Dataset:
    """Open a data set; its header is checked at once, its samples are read when they are asked for.

    Args:
        path: ``.npz`` with an array per input (or one for the only input) and perhaps ``labels``;
            ``.npy`` for the only input; or a folder of images, perhaps with ``labels.csv``.
        inputs: What the model takes.
        limit: Use only so many samples, from the start.
        classes: Number of classes of the model: chooses between columns of ``labels.csv``, and bounds labels.

    Raises:
        ModelError: The data are absent, unreadable, empty, or do not fit the inputs.
    """
    if not path.exists():
        raise ModelError("no such file", where=str(path))
    if path.is_dir():
        found = _folder(path, inputs, classes)
    elif path.suffix in (".npy", ".npz"):
        found = _arrays(path, inputs)
    else:
        raise ModelError("is no data", where=str(path), hint=".npz, .npy, or a folder of images")
    if classes is not None and found.labels is not None:
        _check_labels(found.labels, classes, path)
    if limit is None or limit >= len(found):
        return found
    labels = found.labels if found.labels is None else found.labels[:limit]
    return Dataset(found.columns, limit, labels)


def _folder(path: Path, inputs: Sequence[TensorSpec], classes: int | None) -> Dataset:
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs)
        raise ModelError(f"a folder of images serves one input, not {names}", where=str(path), hint="a .npz")
    found = images.open_images(path, inputs[0])
    labels = images.read_labels(path, found.files, classes)
    return Dataset({inputs[0].name: found}, len(found), labels)


def _arrays(path: Path, inputs: Sequence[TensorSpec]) -> Dataset:
    stored = {item.name: item for item in arrays.open_arrays(path)}
    names = {spec.name for spec in inputs}
    labels = next((stored[name] for name in LABELS if name in stored and name not in names), None)
    data = [item for item in stored.values() if item is not labels]
    columns = {}
    for spec in inputs:
        item = stored.get(spec.name) or (_only(data, spec) if len(inputs) == 1 else None)
        if item is None:
            hint = f"it holds: {', '.join(stored) or 'nothing'}"
            raise ModelError(f"has no array for the input {spec.name!r}", where=str(path), hint=hint)
        columns[spec.name] = arrays.column(item, spec)
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) != 1:
        each = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ModelError(f"the inputs differ in samples: {each}", where=str(path))
    size = next(iter(sizes.values()))
    return Dataset(columns, size, _labels(labels, size) if labels else None)


def _only(data: list[arrays.Stored], spec: TensorSpec) -> arrays.Stored | None:
    """The one array that can be the samples; others (file names, record numbers) are notes about them."""
    large = [item for item in data if len(item.shape) > 1]
    for candidates in ([item for item in large if _fits(item, spec)], large, data):
        if len(candidates) == 1:
            return candidates[0]
    return None


def _fits(item: arrays.Stored, spec: TensorSpec) -> bool:
    try:
        arrays.column(item, spec)
    except ModelError:
        return False
    return True


def _check_labels(labels: NDArray[np.int64], classes: int, path: Path) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        what = (
            f"sample {wrong[0]} has the label {labels[wrong[0]]}, but the model has {classes} classes, from 0"
        )
        raise ModelError(what, where=str(path))


def _labels(stored: arrays.Stored, size: int) -> NDArray[np.int64]:
    if stored.dtype.kind not in "iu" or stored.shape not in ((size,), (size, 1)):
        what = f"is {stored.dtype.name} {list(stored.shape)}, not {size} class indices"
        raise ModelError(what, where=stored.where)
    return stored.read().reshape(size).astype(np.int64)
