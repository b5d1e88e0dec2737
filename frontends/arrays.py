"""Samples from ``.npy`` and ``.npz`` files, read row by row: memory does not grow with the file."""

import contextlib
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgecut.ir.errors import ModelError
from edgecut.ir.program import TensorSpec

Array = NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """One array of a file: its header is known, its values are not yet read."""

    path: Path
    member: str | None
    """Name inside the ``.npz``; None in a ``.npy``."""
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    @property
    def where(self) -> str:
        """The file, and the array in it."""
        return f"{self.path}[{self.name}]" if self.member else str(self.path)

    def read(self) -> Array:
        """The whole array.

        Raises:
            ModelError: The file ends early.
        """
        with _opened(self) as file:
            data = _read(file, math.prod(self.shape) * self.dtype.itemsize, self)
            _read(file, 0, self)
        return np.frombuffer(data, self.dtype).reshape(self.shape, order="F" if self.fortran else "C")

    def rows(self) -> Iterator[Array]:
        """The entries along the first axis, one after the other.

        Raises:
            ModelError: The file ends early.
        """
        if self.fortran:
            yield from self.read()
            return
        row = self.shape[1:]
        with _opened(self) as file:
            for _ in range(self.shape[0]):
                data = _read(file, math.prod(row) * self.dtype.itemsize, self)
                yield np.frombuffer(data, self.dtype).reshape(row)
            _read(file, 0, self)


@dataclass(frozen=True)
class Column:
    """A stored array as samples of one graph input."""

    stored: Stored
    spec: TensorSpec
    rows: int
    """Rows of the array that make one sample; 0 where the whole array is the only one."""

    def __len__(self) -> int:
        return self.stored.shape[0] // self.rows if self.rows else 1

    def __iter__(self) -> Iterator[Array]:
        if not self.rows:
            yield self._sample(self.stored.read(), 0)
            return
        rows = self.stored.rows()
        for index in range(len(self)):
            yield self._sample(np.stack([next(rows) for _ in range(self.rows)]), index)

    def _sample(self, data: Array, index: int) -> Array:
        if data.dtype.kind == "f" and not np.isfinite(data).all():
            raise ModelError(f"sample {index} has NaN or infinite values", where=self.stored.where)
        sample = data.reshape([int(d or 0) for d in self.spec.shape]).astype(self.spec.dtype)
        if data.dtype.kind in "iu" and not np.array_equal(sample.ravel(), data.ravel()):
            raise ModelError(f"sample {index} does not fit {self.spec.dtype}", where=self.stored.where)
        return sample


def open_arrays(path: Path) -> list[Stored]:
    """Headers of the arrays in a ``.npy`` or ``.npz`` file.

    Raises:
        ModelError: The file is not readable, or holds Python objects.
    """
    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                return [_header(file, path, None)]
        with zipfile.ZipFile(path) as archive:
            found = []
            for member in archive.namelist():
                with archive.open(member) as file:
                    found.append(_header(file, path, member))
            return found
    except ModelError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise what they like for a damaged file
        raise ModelError("is no readable NumPy file (truncated?)", where=str(path)) from error


def column(stored: Stored, spec: TensorSpec) -> Column:
    """Read an array as samples of an input of shape [B, ...].

    Its shape may be [N, ...] with N a multiple of B, [N, B, ...], or that of one sample without B = 1.

    Raises:
        ModelError: Type or shape do not fit the input.
    """
    shape, wanted = stored.shape, spec.shape
    kind = np.dtype(spec.dtype).kind
    fits: int | None = None
    if shape[1:] == wanted[1:] and shape and wanted:
        batch = int(wanted[0] or 0)
        fits = batch if batch and shape[0] % batch == 0 else None
    elif shape[1:] == wanted and shape:
        fits = 1
    elif shape == wanted[1:] and wanted and wanted[0] == 1:
        fits = 0
    # A change of width within a kind is harmless; anything else is another meaning (pixels or features?).
    if fits is None or stored.dtype.kind != kind:
        raise _misfit(stored, spec)
    if fits and stored.shape[0] == 0:
        raise ModelError("holds no samples", where=stored.where)
    return Column(stored, spec, fits)


def _misfit(stored: Stored, spec: TensorSpec) -> ModelError:
    takes = f"{spec.dtype} {_shape(('N', *spec.shape[1:]))}"
    what = f"is {stored.dtype.name} {_shape(stored.shape)}, but the input {spec.name!r} takes {takes}"
    pixels = stored.dtype == np.uint8 and np.dtype(spec.dtype).kind == "f"
    hint = f"raw pixels need --image {spec.name} when the model is built" if pixels else None
    return ModelError(what, where=stored.where, hint=hint)


def _shape(shape: tuple[object, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _header(file: IO[bytes], path: Path, member: str | None) -> Stored:
    major = npy.read_magic(file)[0]
    read = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    name = (member or path.name).removesuffix(".npy")
    stored = Stored(path, member, name, dtype, shape, fortran)
    if dtype.hasobject:
        raise ModelError("holds Python objects, which are not loaded", where=stored.where)
    return stored


@contextlib.contextmanager
def _opened(stored: Stored) -> Iterator[IO[bytes]]:
    """The file behind an array, at its first value."""
    with contextlib.ExitStack() as stack:
        try:
            if stored.member is None:
                file: IO[bytes] = stack.enter_context(stored.path.open("rb"))
            else:
                archive = stack.enter_context(zipfile.ZipFile(stored.path))
                file = stack.enter_context(archive.open(stored.member))
            _header(file, stored.path, stored.member)
        except Exception as error:  # it was readable when it was opened first
            raise ModelError("is no longer readable", where=stored.where) from error
        yield file


def _read(file: IO[bytes], size: int, stored: Stored) -> bytes:
    """So many bytes; 0 asks for the end of the array, at which an archive compares its checksum."""
    try:
        data = file.read(size or 1)
    except Exception as error:  # OSError, BadZipFile, and zlib.error, which has no better base
        raise ModelError("is damaged", where=stored.where) from error
    if len(data) != size:
        raise ModelError("holds not as many values as its header says (truncated?)", where=stored.where)
    return data
