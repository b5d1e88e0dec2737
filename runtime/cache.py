"""Answers to inputs that were seen before, or nearly so."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Optional

import numpy as np

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Entry:
    outputs: dict[str, np.ndarray]
    size: int
    made_at: float


class AnswerCache:
    """Outputs by the content of the inputs, the least recently used going first.

    Args:
        max_bytes: Bytes of the outputs that are kept.
        max_age_s: Seconds after which an answer is no longer given.
        near: Largest distance at which an input counts as the same as the one that was last computed;
            0 takes equal inputs only. See `distance`.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 16 << 20,
        max_age_s: float = 60.0,
        near: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._near = near
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._size = 0
        self._last: Optional[tuple[dict[str, np.ndarray], bytes]] = None
        self.hits = 0
        self.near_hits = 0
        self.misses = 0

    def get(self, inputs: Tensors, of: str = "") -> Optional[dict[str, np.ndarray]]:
        """The answer to these inputs, or to inputs near them; None if it is not known.

        Args:
            inputs: What was asked.
            of: What was computed of them, where that is more than one thing.
        """
        found = self._fresh(_key(inputs, of))
        if found is not None:
            self.hits += 1
            return found
        found = self._nearby(inputs)
        if found is not None:
            self.near_hits += 1
            return found
        self.misses += 1
        return None

    def put(self, inputs: Tensors, outputs: Tensors, of: str = "") -> None:
        """Keep an answer, unless it is larger than the whole cache."""
        copies = {name: array.copy() for name, array in outputs.items()}
        size = sum(array.nbytes for array in copies.values())
        key = _key(inputs, of)
        self._drop(key)
        if size > self._max_bytes:
            return
        self._entries[key] = _Entry(copies, size, self._clock())
        self._size += size
        if self._near > 0:
            self._last = ({name: array.copy() for name, array in inputs.items()}, key)
        while self._size > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _fresh(self, key: bytes) -> Optional[dict[str, np.ndarray]]:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._clock() - entry.made_at > self._max_age_s:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return {name: array.copy() for name, array in entry.outputs.items()}

    def _nearby(self, inputs: Tensors) -> Optional[dict[str, np.ndarray]]:
        # Compared with the input that the answer was computed from, never with one that was itself only
        # near to it: a slow drift would else never be noticed.
        if self._last is None or distance(inputs, self._last[0]) > self._near:
            return None
        return self._fresh(self._last[1])

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        self._size -= entry.size if entry else 0


def distance(a: Tensors, b: Tensors) -> float:
    """Mean absolute difference of two sets of tensors, as a share of the second's range of values.

    The range of a uint8 tensor is 255. Of several tensors the largest distance counts.
    """
    return max((_distance(a[name], b[name]) for name in b), default=0.0)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if a.size == 0 or np.array_equal(a, b):
        return 0.0
    wide, base = a.astype(np.float64), b.astype(np.float64)
    span = 255.0 if b.dtype == np.uint8 else float(base.max() - base.min())
    found = float(np.abs(wide - base).mean()) / span if span else float("inf")
    return found if np.isfinite(found) else float("inf")


def _key(inputs: Tensors, of: str) -> bytes:
    digest = hashlib.blake2b(of.encode(), digest_size=32)
    for name in sorted(inputs):
        array = inputs[name]
        digest.update(f"{name}\0{array.dtype.str}{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
