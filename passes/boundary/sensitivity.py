"""How much the answer reacts to each part of a crossing value, and the units that follow from it.

Noise of the same power does not do the same damage everywhere. The cloud half is therefore run on values
that were changed by random signs along one channel, or in one band of frequencies, and the change of its
outputs is measured. A step is then counted in equal damage: where the answer reacts twice as much the step
is half as long, which is what is best for a sum of damages (reverse water-filling). Channels are
decorrelated in this measure too, so that the transform stays free: all of it is folded into matrices.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir import transform
from edgecut.ir.annotations import Coding
from edgecut.ir.encoding import Spec
from edgecut.ir.program import Program
from edgecut.passes.boundary import candidate as trial
from edgecut.passes.boundary import statistics
from edgecut.passes.boundary.candidate import Candidate
from edgecut.passes.numerics import Runner

Array = NDArray[Any]
Wide = NDArray[np.float64]

PROBES = 640
"""Runs of the cloud half for the channels of one value; the bands take a fifth more."""
FEWEST, MOST = 4, 16
"""Samples that are changed."""
AMPLITUDE = 0.3
"""Of a change, in standard deviations of the value: what a step of 1 does."""
SHRINK, FLOOR = 0.2, 0.05
"""What was measured on few samples is drawn so far to no interaction of channels, and to equal ones."""
MANY = 8
"""Times the probes that are spent at most, where channels are many."""


@dataclass(frozen=True)
class Probe:
    """Runs the cloud half on changed values of some samples.

    Args:
        suffix: Gives what is looked at.
        candidate: The value that it takes.
        feeds: What crosses, for the samples that are changed.
        values: Real numbers of the value in these.
        wanted: What the cloud half gives for them.
        scale: For each output what its changes are divided by, so that they may be summed up.
        clamp: Whether the value is never negative.
    """

    suffix: Runner
    candidate: Candidate
    feeds: Sequence[dict[str, Array]]
    values: NDArray[np.float32]
    wanted: Sequence[dict[str, Wide]]
    scale: dict[str, float]
    clamp: bool

    def response(self, i: int, change: NDArray[Any]) -> Wide:
        """How the outputs change with a value, as one vector."""
        moved = self.values[i : i + 1] + change.astype(np.float32)
        moved = np.maximum(moved, 0) if self.clamp else moved
        found = self.suffix({**self.feeds[i], self.candidate.name: self.candidate.held(moved)})
        parts = [
            _told(found[k].astype(np.float64) - want) / self.scale[k] for k, want in self.wanted[i].items()
        ]
        return np.concatenate(parts)


def weigh(
    coding: Coding,
    candidate: Candidate,
    cloud: Program,
    feeds: Sequence[dict[str, Array]],
    probes: int = PROBES,
) -> Coding:
    """Statistics whose units follow the sensitivity of the answer.

    Args:
        coding: Statistics of the value.
        candidate: The value.
        cloud: What reads it.
        feeds: Everything that crosses, for each of the samples to fit to.
        probes: Runs to spend on the channels; with none, or where it has too many, units stay equal.
    """
    shape = candidate.shape
    if not probes or len(shape) < 2 or (candidate.dtype != "float32" and candidate.grid is None):
        return coding
    channels = shape[coding.channel]
    samples = min(max(probes // channels, FEWEST), MOST, len(candidate.fit))
    if samples * channels > MANY * probes:
        return coding
    probe = _probe(coding, candidate, cloud, feeds, samples)
    if probe is None:
        return coding
    rng = np.random.default_rng(0)
    found = _by_channel(coding, _gram(coding, probe, rng), candidate)
    if not trial.usable(Spec("dct", 1.0, coder="rans"), candidate, found):
        return found
    return replace(found, emphasis=tuple(_by_frequency(found, probe, rng)))


def units(gram: Wide) -> Wide | None:
    """Symmetric root of a Gram matrix of responses: ``|root @ change|`` is the damage of a change.

    None where there is no response.
    """
    mean = float(np.trace(gram)) / len(gram)
    if not mean > 0:
        return None
    own = np.diag(np.diag(gram))
    values, vectors = np.linalg.eigh((1 - SHRINK) * gram + SHRINK * own + FLOOR * mean * np.eye(len(gram)))
    return np.asarray((vectors * np.sqrt(np.maximum(values, FLOOR * mean))) @ vectors.T, np.float64)


def bands(count: int) -> list[tuple[int, int]]:
    """Octaves of so many frequencies: the lowest alone, then twice as many each time."""
    edges = [0]
    while edges[-1] < count:
        edges.append(min(max(2 * edges[-1], 1), count))
    return list(itertools.pairwise(edges))


def emphasis(power: Sequence[float], count: int) -> Wide:
    """Weights of so many frequencies, from the mean squared response in each of their `bands`.

    They are its root, interpolated between the octaves, and their geometric mean is 1.
    """
    most = max(power)
    if not most > 0:
        return np.ones(count)
    level = np.log(np.maximum(power, FLOOR * most))
    middles = [np.log2(1 + (low + high - 1) / 2) for low, high in bands(count)]
    wanted = 0.5 * np.interp(np.log2(1 + np.arange(count)), middles, level)
    return np.asarray(np.exp(wanted - wanted.mean()), np.float64)


def _probe(
    coding: Coding, candidate: Candidate, cloud: Program, feeds: Sequence[dict[str, Array]], samples: int
) -> Probe | None:
    """None where the outputs do not vary."""
    read = [_scores(value) for value in cloud.graph.outputs]
    suffix = Runner(cloud, [name for name in read if name not in {v.name for v in cloud.graph.outputs}])
    at = np.linspace(0, len(candidate.fit) - 1, samples).astype(int)
    chosen = [feeds[i] for i in at]
    given = [suffix(feed) for feed in chosen]
    spread = {k: float(np.std([item[k] for item in given]) * given[0][k].size ** 0.5) for k in read}
    scale = {k: s for k, s in spread.items() if np.isfinite(s) and s > 0}
    wanted = [{k: item[k].astype(np.float64) for k in scale} for item in given]
    clamp = bool(transform.unpack(coding.least).min() >= 0)
    values = candidate.real(candidate.fit[at])
    return Probe(suffix, candidate, chosen, values, wanted, scale, clamp) if scale else None


def _scores(value: oir.Value) -> str:
    """The output to look at: what a softmax reads, where one (quantized, maybe) makes this one.

    Probabilities hardly react where the model is sure; scores do, and they decide what comes out.
    """
    node = value.producer()
    while node is not None and node.op_type in ("DequantizeLinear", "QuantizeLinear"):
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    read = node.inputs[0] if node is not None and node.op_type == "Softmax" else None
    return (read.name if read is not None and read.producer() is not None else value.name) or ""


def _told(change: Wide) -> Wide:
    """A change as one vector; scores that all rise alike change no answer."""
    if change.ndim == 2 and change.shape[1] > 1:
        change = change - change.mean(axis=1, keepdims=True)
    return change.reshape(-1)


def _gram(coding: Coding, probe: Probe, rng: np.random.Generator) -> Wide:
    """Mean product of the responses to one place of two channels; of decorrelated ones where there are."""
    shape, axis = probe.values.shape, coding.channel
    places = [d for a, d in enumerate(shape) if a not in (0, axis)]
    size = AMPLITUDE * coding.deviation
    rows = _rows(coding, shape[axis])
    total = np.zeros((len(rows), len(rows)))
    for i in range(len(probe.values)):
        # The same signs for all channels: their products are those of the same places, on average.
        signs = rng.choice([-size, size], size=places)
        changes = (np.moveaxis(np.multiply.outer(signs, row), -1, axis - 1) for row in rows)
        found = np.array([probe.response(i, change[None]) for change in changes])
        total += found @ found.T
    return np.asarray(total / (len(probe.values) * size**2 * np.prod(places)), np.float64)


def _rows(coding: Coding, channels: int) -> Wide:
    if not coding.basis:
        return np.eye(channels)
    return transform.unpack(coding.basis).reshape(channels, channels).astype(np.float64)


def _by_channel(coding: Coding, gram: Wide, candidate: Candidate) -> Coding:
    """Weights of the channels, and a basis in which neither the value nor the damage is correlated."""
    channels, rows = len(gram), _rows(coding, len(gram))
    # Channels that are not decorrelated are rounded each by itself.
    root = units(gram if coding.basis else np.diag(np.diag(gram)))
    if root is None:
        return coding
    vectors = np.moveaxis(candidate.real(candidate.fit), coding.channel, -1).reshape(-1, channels)
    centred = (vectors - transform.unpack(coding.mean)).astype(np.float64)
    root = root @ rows
    seen = centred @ root.T
    # Steps are in standard deviations, of what is weighted as of what is not.
    level = float(np.sqrt(np.square(seen).mean() / max(np.square(centred).mean(), 1e-300)))
    if not level > 0:
        return coding
    root = root / level
    found = replace(coding, weights=transform.pack(np.sqrt(np.square(root).sum(axis=0))))
    if not coding.basis:
        return found
    return replace(found, basis=transform.pack(statistics.principal(seen) @ root))


def _by_frequency(coding: Coding, probe: Probe, rng: np.random.Generator) -> list[str]:
    """Weights of the frequencies of each axis along space or time."""
    kind = "klt-dct" if coding.basis else "dct"
    form = transform.make(Spec(kind, AMPLITUDE, coder="rans"), coding, probe.values.shape)
    form = replace(form, offset=np.zeros_like(form.offset), clamp=False)
    found = []
    for axis in form.axes:
        at, count = form.order.index(axis), form.shape[axis]
        power = []
        for band in bands(count):
            coded = np.zeros((1, *form.coded_shape[1:]), np.float32)
            inside = np.moveaxis(coded, at, 0)[slice(*band)]
            total = 0.0
            for i in range(len(probe.values)):
                inside[...] = rng.choice([-1, 1], size=inside.shape)
                total += float(np.square(probe.response(i, form.backward(coded))).sum())
            power.append(total / inside.size)
        found.append(transform.pack(emphasis(power, count)))
    return found
