"""Values that may cross, on calibration data."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecut.ir import extract
from edgecut.ir.annotations import Cut
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program, static_shape
from edgecut.passes.boundary import statistics
from edgecut.passes.boundary.candidate import Candidate
from edgecut.passes.numerics import Runner
from edgecut.passes.partition.enumerate import all_cuts

MAX_ELEMENTS = 1 << 16
"""A value of more elements is looked at only where the model's input has more still."""
GROWTH = 2
"""Nor one of more than so many times the elements of an earlier one, which costs the device less."""
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
"""What comes before the first of these is still the input, and says nothing about sizes behind it."""


@dataclass(frozen=True)
class Seen:
    """A value on all samples."""

    name: str
    grid: tuple[float, int] | None
    values: NDArray[Any]
    """``[samples, ...]``."""

    def divided(self, fit: NDArray[np.bool_]) -> Candidate:
        """Samples to fit to, and the others to report on."""
        shape, dtype = (1, *self.values.shape[1:]), self.values.dtype.name
        return Candidate(self.name, shape, dtype, self.grid, self.values[fit], self.values[~fit])


def single(program: Program) -> list[Cut]:
    """Legal cuts of a profiled program where one tensor crosses that is no input, in topological order.

    Raises:
        ModelError: The program has no costs.
    """
    inputs = {spec.name for spec in program.inputs}
    found: dict[str, Cut] = {}
    for cut in all_cuts(program, 0):
        if len(cut.crossing) == 1 and cut.crossing[0] not in inputs:
            found.setdefault(cut.crossing[0], cut)
    return list(found.values())


def worthwhile(program: Program) -> list[Cut]:
    """Those whose tensor is small enough that sending it may pay.

    Raises:
        ModelError: The program has no costs.
    """
    inputs = [math.prod(d for d in spec.shape if isinstance(d, int)) for spec in program.inputs]
    limit, found = max(*(n - 1 for n in inputs), MAX_ELEMENTS), []
    for cut in single(program):
        shape = static_shape(program.value(cut.crossing[0]))
        size = math.prod(shape) if shape and shape[0] == 1 else limit + 1
        if size > limit:
            continue
        found.append(cut)
        before = extract.ancestors([program.value(cut.crossing[0])])
        if any(node.op_type in WEIGHTED for node in before):
            limit = min(limit, GROWTH * size)
    return found


def walk(
    program: Program, cuts: Sequence[Cut], samples: Sequence[Mapping[str, NDArray[Any]]]
) -> Iterator[tuple[Cut, Seen]]:
    """Each cut with its tensor's values, computed from those of the cut before it where that suffices.

    Raises:
        ModelError: ONNX Runtime cannot run a part.
    """
    inputs = [spec.name for spec in program.inputs]
    given, feeds = inputs, list(samples)
    for cut in cuts:
        name = cut.crossing[0]
        try:
            part = extract.subgraph(program, given, [name], "part")
        except ModelError:
            given, feeds = inputs, list(samples)
            part = extract.subgraph(program, given, [name], "part")
        runner, used = Runner(part), {spec.name for spec in part.inputs}
        values = [runner({k: v for k, v in feed.items() if k in used})[name] for feed in feeds]
        given, feeds = [name], [{name: value} for value in values]
        array = np.concatenate(values)
        grid = statistics.scale_of(program, name) if array.dtype != np.float32 else None
        yield cut, Seen(name, grid, array)
