"""Refits the layers of each block together, so that its results become the original's.

A block lies between two narrow places of the network. Layer by layer, each weight matrix can only make up
for what was lost before it; here those before give the later ones what they can use. It is least squares
still, on the original's activations, and needs torch for its derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx_ir as oir

from edgecut.frontends.data import Dataset
from edgecut.ir import extract
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program, static_shape
from edgecut.passes import effects, numerics, split
from edgecut.passes.augment import Kind, mirrored
from edgecut.passes.base import Progress
from edgecut.passes.divergence import scores
from edgecut.passes.numerics import Array, Sample
from edgecut.passes.prune import linear, narrow, newton
from edgecut.passes.prune.newton import Pairs
from edgecut.passes.prune.refit import Kept

# Multiply-accumulates of one pass through the network with all samples that are fitted to, about a minute of
# all passes on one core; limits to the samples; and numbers that the samples of a block may take.
_WORK, _SAMPLES, _NUMBERS = 1e10, (48, 1536), 1e8
# Of so many samples that are fitted to, one more judges.
_JUDGES = 3


def is_quick(program: Program) -> bool:
    """Whether the least samples go through a program in about a minute, as often as it takes."""
    return effects.size(program).macs * _SAMPLES[0] <= _WORK


def refit(
    before: Program, after: Program, kept: Kept, dataset: Dataset, kind: Kind, progress: Progress
) -> None:
    """Correct the weights of the pruned program block by block, in place, where that does better.

    Args:
        before: The original.
        after: The pruned program, with the same names.
        kept: Positions of the channels that are left, by name of the value that holds them.
        dataset: Inputs; some are held out, to judge by.
        kind: How more inputs are made out of them.
        progress: Shows the blocks.

    Raises:
        UsageError: torch is not installed.
    """
    places = _places(after)
    with progress.task("refitting blocks", len(places) - 1) as advance:
        for source, result in pairwise(places):
            part = extract.subgraph(after, [source], [result], "block")
            if any(linear.is_linear(node) for node in part.nodes):
                _refit(before, after, part, (source, result), kept, dataset, kind)
            advance()


def _places(program: Program) -> list[str]:
    """From the input to the scores of the output, all that blocks can begin and end with."""
    found = [name for name in narrow.places(program) if (static_shape(program.value(name)) or (0,))[0] == 1]
    ends = [scores(program, spec.name) for spec in program.outputs]
    starts = [spec.name for spec in program.inputs]
    found = [*(starts if len(starts) == 1 else []), *found, *(ends if len(ends) == 1 else [])]
    return list(dict.fromkeys(found))


def _refit(
    before: Program,
    after: Program,
    part: Program,
    ends: tuple[str, str],
    kept: Kept,
    dataset: Dataset,
    kind: Kind,
) -> None:
    source, result = ends
    given, wanted = numerics.probe(after, source), _wanted(before, after, result, kept)
    some = next(iter(dataset))
    count = int(np.clip(_WORK / max(1, effects.size(after).macs), *_SAMPLES))
    count = max(1, min(count, int(_NUMBERS / (given(some).size + wanted(some).size))))
    data, held_out = (
        _pairs(samples, limit, given, wanted)
        for samples, limit in (
            (mirrored.apply(split.fit(dataset), kind), count), (split.test(dataset), -(-count // _JUDGES))
        )
    )  # fmt: skip
    try:
        found = newton.fit(part, source, result, data, held_out)
    except (ModelError, NotImplementedError):
        # An operator without derivatives: the layers stay as they are.
        return
    for name, array in found.items():
        after.graph.initializers[name].const_value = oir.tensor(array, name=name)


def _wanted(before: Program, after: Program, name: str, kept: Kept) -> Callable[[Sample], Array]:
    """The original's value, without the channels that are gone."""
    probe = numerics.probe(before, name)
    left = kept.get(name)
    if left is None:
        return probe
    sizes = [static_shape(program.value(name)) or () for program in (before, after)]
    axis = next(i for i, (a, b) in enumerate(zip(*sizes, strict=True)) if a != b)
    return lambda sample: np.take(probe(sample), left, axis)


def _pairs(
    samples: Dataset, limit: int, given: Callable[[Sample], Array], wanted: Callable[[Sample], Array]
) -> Pairs:
    """Of at most so many samples, from all over the data."""
    some = list(split.some(samples, limit))
    return Pairs(*(np.concatenate([run(s) for s in some]).astype(np.float32) for run in (given, wanted)))
