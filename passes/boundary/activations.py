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
from edgecut.passes.partition.enumerate import first_cuts

MAX_ELEMENTS = 1 << 16
"""A cut that sends more elements is looked at only where the model's input has more still."""
GROWTH = 2
"""Nor one that sends more than so many times the elements of an earlier one, which costs the device less."""
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
"""What comes before the first of these is still the input, and says nothing about sizes behind it."""

Feed = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Place:
    """A cut, and those of its crossing tensors that are looked at there; the others cross beside them."""

    cut: Cut
    made: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """What crosses at a place, on all samples."""

    place: Place
    feeds: list[Feed]
    """Each sample's crossing tensors."""
    grids: dict[str, tuple[float, int] | None]

    def divided(self, name: str, fitted: int) -> Candidate:
        """One of the tensors on the samples to fit to, which come first, and on the others, to report on."""
        values = np.concatenate([feed[name] for feed in self.feeds])
        shape, dtype = (1, *values.shape[1:]), values.dtype.name
        return Candidate(name, shape, dtype, self.grids[name], values[:fitted], values[fitted:])


def places(program: Program) -> list[Place]:
    """Where tensors of one sample may be sent: each where the least runs on the edge.

    Raises:
        ModelError: The program has no costs.
    """
    found = []
    for cut, made in first_cuts(program):
        shapes = {name: static_shape(program.value(name)) for name in made}
        own = tuple(name for name, shape in shapes.items() if shape and shape[0] == 1)
        if own:
            found.append(Place(cut, own))
    return found


def worthwhile(program: Program) -> list[Place]:
    """Those where so little crosses that sending it may pay.

    Raises:
        ModelError: The program has no costs.
    """
    inputs = [math.prod(d for d in spec.shape if isinstance(d, int)) for spec in program.inputs]
    limit, found = max(*(n - 1 for n in inputs), MAX_ELEMENTS), []
    for place in places(program):
        sizes = [_elements(program, name) for name in place.cut.crossing]
        size = sum(n for n in sizes if n is not None)
        if size > limit or None in sizes:
            continue
        found.append(place)
        before = extract.ancestors(program.value(name) for name in place.made)
        if any(node.op_type in WEIGHTED for node in before):
            limit = min(limit, GROWTH * size)
    return found


def _elements(program: Program, name: str) -> int | None:
    shape = static_shape(program.value(name))
    return None if shape is None else math.prod(shape)


def walk(
    program: Program, chosen: Sequence[Place], samples: Sequence[Mapping[str, NDArray[Any]]]
) -> Iterator[Seen]:
    """What crosses at each place, computed from what crosses at the one before where that suffices.

    Raises:
        ModelError: ONNX Runtime cannot run a part.
    """
    whole = [dict(sample) for sample in samples]
    given, feeds = [spec.name for spec in program.inputs], whole
    inputs = given
    for place in chosen:
        names = place.cut.crossing
        try:
            part = _part(program, given, names)
        except ModelError:
            given, feeds = inputs, whole
            part = _part(program, given, names)
        feeds = _advanced(part, names, feeds)
        given = list(names)
        grids = {name: _grid(program, name) for name in place.made}
        yield Seen(place, feeds, grids)


def _part(program: Program, given: Sequence[str], names: Sequence[str]) -> Program | None:
    """What computes some values from others; None where they are among these."""
    new = [name for name in names if name not in given]
    return extract.subgraph(program, given, new, "part") if new else None


def _advanced(part: Program | None, names: Sequence[str], feeds: Sequence[Feed]) -> list[Feed]:
    if part is None:
        return [{name: feed[name] for name in names} for feed in feeds]
    runner, used = Runner(part), {spec.name for spec in part.inputs}
    found = []
    for feed in feeds:
        known = {**feed, **runner({k: v for k, v in feed.items() if k in used})}
        found.append({name: known[name] for name in names})
    return found


def _grid(program: Program, name: str) -> tuple[float, int] | None:
    """Scale and zero point of a quantized value."""
    dtype = program.value(name).dtype
    held = dtype.numpy().name if dtype is not None else "float32"
    return statistics.scale_of(program, name) if held != "float32" else None
