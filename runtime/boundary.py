"""What happens to a crossing tensor between the edge half and the cloud half: rounding and coding."""

from __future__ import annotations

import itertools
from typing import Any, Optional

import numpy as np

from edgecut.ir.errors import ModelError
from edgecut.ir.manifest import Sent
from edgecut.runtime.stream import MAGIC, Stream, StreamError
from edgecut.runtime.tables import Tables


def rounded(numbers: np.ndarray, rounding: float, low: int, high: int) -> np.ndarray:
    """Integers of transformed numbers: magnitudes are cut off after ``rounding`` was added to them.

    This is done here and not in the artifact because it is exact on every machine, has a dead zone, and
    takes 50 us where the integer kernels would round to the nearest and end at 127.

    Returns:
        int8 where the limits fit, else int16.
    """
    found = np.abs(numbers)
    found += np.float32(rounding)
    np.floor(found, out=found)
    np.copysign(found, numbers, out=found)
    np.clip(found, low, high, out=found)
    kind: Any = np.int8 if low >= -128 and high <= 127 else np.int16
    return np.asarray(found.astype(kind))


class Codec:
    """Codes one crossing tensor of a build.

    Args:
        sent: As the manifest lists it, with its coding.

    Raises:
        ModelError: Its tables are damaged.
    """

    def __init__(self, sent: Sent) -> None:
        assert sent.coding is not None, f"{sent.name} is not coded"
        self._sent, self._record = sent, sent.coding
        self.stream: Optional[Stream] = None
        if self._record.coder == "none":
            return
        try:
            tables = Tables.parse(self._record.tables) if self._record.tables else None
            self.stream = Stream(self._record.coder, sent.dtype, sent.shape, tables)
        except (KeyError, ValueError) as error:
            what = f"its coding is damaged: {error}"
            raise ModelError(what, where=sent.name, hint="build again") from error

    def integers(self, made: np.ndarray) -> np.ndarray:
        """What the cloud half takes, of what the edge half gave."""
        record = self._record
        if record.rounding is None:
            return made.astype(self._sent.dtype, copy=False)
        return rounded(made, record.rounding / 256, record.low, record.high)

    def encode(self, tensor: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        """A tensor as its stream: uint8 with one dimension; the tensor itself where it has no coder.

        Args:
            tensor: As the cloud half takes it.

        Returns:
            The stream, and the lengths at which a part of it ends; none where it has no coder.
        """
        if self.stream is None:
            return tensor, ()
        parts = [self.stream.header(), *self.stream.chunks(tensor)]
        ends = tuple(itertools.accumulate(map(len, parts)))
        return np.frombuffer(b"".join(parts), np.uint8), ends[1:]

    def decode(self, data: np.ndarray) -> np.ndarray:
        """The tensor of a stream, or the best estimate from a part of one.

        Raises:
            StreamError: It is no stream of this tensor.
        """
        if self.stream is None:
            raise StreamError("is not sent as a stream")
        return self.stream.decode(data.tobytes()).values


def is_stream(found: np.ndarray) -> bool:
    """Whether a tensor that came over the wire is a coded one."""
    return found.dtype == np.uint8 and found.ndim == 1 and found[:2].tobytes() == MAGIC
