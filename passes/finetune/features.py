"""What passes through the narrow places of a network, to be taught along with the answers.

Wherever the whole network hangs on one value, as after each residual block, that value says far more than
the answers do. Pruning has taken channels from it: what is left is mapped to all that the original had there,
by a regression that stays as it was at the start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecut.ir.program import Program, static_shape
from edgecut.passes import split
from edgecut.passes.numerics import Array, Runner, Sample
from edgecut.passes.prune import linear, narrow
from edgecut.passes.prune.refit import Normal

Single = NDArray[np.float32]

# Values that are compared at most, spread over the network; channels beyond which a map would take too long.
_MOST, _MAX_CHANNELS = 8, 1024
# Samples that a map is fitted to, rows of each, and ridges tried on every fourth.
_SAMPLES, _ROWS, _RIDGES = 256, 128, (1e-6, 1e-4, 1e-2, 1.0)


@dataclass(frozen=True)
class Feature:
    """A value of both programs."""

    name: str
    axis: int
    """Of the channels, from the end; 0 where all are left."""
    map: Single | None
    """[channels left + 1, channels of the original], the last row added to each; None where all are left."""
    power: float
    """Mean square of the original's, less its mean."""


def find(teacher: Program, student: Program, samples: Iterable[Sample]) -> list[Feature]:
    """The narrow places that both programs have, with what maps the one to the other.

    Args:
        teacher: The original.
        student: The pruned program. A value of it is known by its name, and by sizes that are the same but
            for the channels.
        samples: Inputs to fit the maps to.
    """
    axes = {
        name: axis for name in narrow.places(student) if (axis := _axis(teacher, student, name)) is not None
    }
    places = list(axes)
    if len(places) > _MOST:
        places = [places[i] for i in np.linspace(0, len(places) - 1, _MOST).round().astype(int)]
    if not places:
        return []
    first, second = Runner(teacher, places), Runner(student, places)
    sums = {name: _Sums() for name in places}
    for index, sample in enumerate(islice(samples, _SAMPLES)):
        wanted, found = first(sample), second(sample)
        for name in places:
            sums[name].add(index, *(_rows(array[name], axes[name], index) for array in (wanted, found)))
    return [sums[name].feature(name, axes[name]) for name in places]


def _axis(teacher: Program, student: Program, name: str) -> int | None:
    """The axis of the channels, from the end; 0 where none has left, None where values cannot be compared."""
    known = teacher.values().get(name)
    before = static_shape(known) if known is not None and known.const_value is None else None
    after = static_shape(student.value(name))
    if before is None or after is None or len(before) != len(after):
        return None
    other = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    if not other:
        return 0
    return (
        other[0] - len(before) if len(other) == 1 and other[0] and before[other[0]] <= _MAX_CHANNELS else None
    )


def _rows(array: Array, axis: int, seed: int) -> Single:
    """Some rows [rows, channels]; all numbers as one channel where no channel has left."""
    if axis == 0:
        return np.asarray(array.reshape(-1, 1), np.float32)
    rows = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])
    return np.asarray(rows[linear.choose(len(rows), _ROWS, seed)], np.float32)


@dataclass
class _Sums:
    """What a map and its scale follow from."""

    fit: Normal = field(default_factory=Normal)
    test: Normal = field(default_factory=Normal)
    count: int = 0
    total: Any = 0.0
    square: float = 0.0

    def add(self, index: int, wanted: Single, found: Single) -> None:
        """Count rows of the original's values, and of those of what is left of it."""
        self.count += len(wanted)
        self.total = self.total + wanted.sum(axis=0, dtype=np.float64)
        self.square += float(np.sum(np.square(wanted, dtype=np.float64)))
        if wanted.shape != found.shape:
            one = np.ones((len(found), 1), np.float32)
            part = self.test if split.is_held_out(index) else self.fit
            part.add(np.concatenate([found, one], axis=1)[None], wanted[None])

    def feature(self, name: str, axis: int) -> Feature:
        """With the ridge that does best on samples held out."""
        power = self.square - float(np.sum(np.square(self.total))) / self.count
        power = max(power / self.count / np.size(self.total), 1e-12)
        if axis == 0:
            return Feature(name, axis, None, power)
        self.fit.finish()
        self.test.finish()
        maps = [self.fit.solve(ridge) for ridge in _RIDGES]
        # Of three samples none is held out.
        best = maps[-1] if self.test.left is None else min(maps, key=self.test.error)
        return Feature(name, axis, best[0].astype(np.float32), power)
