"""One tensor of the Open Inference Protocol: its type, and its values as raw bytes or as JSON numbers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

MAX_RANK = 32
DATATYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
"""Protocol name of each type to its NumPy name (BF16 has no NumPy type, and BYTES are no numbers)."""
_NAMES = {numpy: name for name, numpy in DATATYPES.items()}


class WireError(ValueError):
    """A message does not follow the protocol; the text says how, for the one who sent it."""


def datatype(dtype: np.dtype[Any]) -> str:
    """Protocol name of a NumPy type.

    Raises:
        WireError: The protocol has none.
    """
    name = _NAMES.get(dtype.name)
    if name is None:
        raise WireError(f"type {dtype.name} cannot be sent")
    return name


def to_bytes(array: np.ndarray) -> bytes:
    """Little-endian bytes of an array."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def to_json(name: str, array: np.ndarray) -> list[Any]:
    """Values of an array, flat.

    Raises:
        WireError: JSON cannot hold them.
    """
    if array.dtype == np.float16:
        raise WireError(f"{name!r} is FP16, which can only be sent as binary data")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise WireError(f"{name!r} holds NaN or infinity, which can only be sent as binary data")
    found: list[Any] = array.ravel().tolist()
    return found


def from_bytes(name: str, data: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array of bytes whose number fits the shape; it may be a view of them.

    Raises:
        WireError: They are no values of this type.
    """
    if dtype == np.bool_ and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise WireError(f"{name!r} is BOOL but holds bytes other than 0 and 1")
    array = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape)
    # A view at an odd address is a fault to some processors' vector loads.
    return np.require(array, dtype, ["C", "A"])


def from_json(name: str, data: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array of JSON numbers, flat or nested.

    Raises:
        WireError: They do not fit the shape or the type.
    """
    if not isinstance(data, list):
        raise WireError(f"{name!r} has neither data nor binary_data_size")
    if dtype == np.float16:
        raise WireError(f"{name!r} is FP16, which can only be sent as binary data")
    flat, found = _flatten(name, data)
    nested = len(found) != 1 and len(flat) > 0  # empty lists cannot show the lengths inside them
    if len(flat) != math.prod(shape) or (nested and found != shape):
        raise WireError(f"{name!r}: data has shape {list(found)}, not {list(shape)}")
    return _array(name, flat, dtype).reshape(shape)


def _flatten(name: str, data: list[Any]) -> tuple[list[Any], tuple[int, ...]]:
    """The numbers of nested lists, and the lists' shape; nothing that NumPy would make more of."""
    dims = [len(data)]
    while data and isinstance(data[0], list):
        widths = {len(row) if isinstance(row, list) else None for row in data}
        width = widths.pop()
        if widths or width is None or len(dims) == MAX_RANK:
            raise WireError(f"{name!r}: data is no regular array")
        dims.append(width)
        data = list(itertools.chain.from_iterable(data))
    if not set(map(type, data)) <= {int, float, bool}:
        raise WireError(f"{name!r}: data holds something that is no number")
    return data, tuple(dims)


def _array(name: str, numbers: list[Any], dtype: np.dtype[Any]) -> np.ndarray:
    """Numbers as JSON gives them, in the declared type, if they fit it."""
    shown = _NAMES[dtype.name]
    kinds = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}[dtype.kind]
    if not set(map(type, numbers)).issubset(kinds):
        raise WireError(f"{name!r}: data does not hold {shown} values")
    if numbers and not _lowest(dtype) <= min(numbers) <= max(numbers) <= _highest(dtype):
        raise WireError(f"{name!r}: data is out of range of {shown}")
    return np.array(numbers, dtype)


def _highest(dtype: np.dtype[Any]) -> float:
    """Largest finite value, as a Python number: NumPy's would overflow in comparisons."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).max)
    return int(np.iinfo(dtype).max) if dtype.kind in "iu" else 1


def _lowest(dtype: np.dtype[Any]) -> float:
    if dtype.kind == "f":
        return float(np.finfo(dtype).min)
    return int(np.iinfo(dtype).min) if dtype.kind in "iu" else 0
