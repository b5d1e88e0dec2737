"""How far a program's answers are from the original's: of classes by their probabilities, else by numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecut.ir.program import Program
from edgecut.passes.numerics import Array, Runner, Sample

# Of inputs and answers of all samples: those of images are large. So many samples are kept in any case.
_KEPT_BYTES, _LEAST = 256 << 20, 8
# Scores are divided by it before the softmax, so that the classes that lose count too.
TEMPERATURE = 2.0


def scores(program: Program, output: str) -> str:
    """The value to compare: an output, or what goes into the softmax that makes it."""
    node = program.value(output).producer()
    if node is None or node.op_type not in ("Softmax", "LogSoftmax") or node.inputs[0] is None:
        return output
    return node.inputs[0].name or output


@dataclass(frozen=True)
class Answers:
    """What a program says to samples, to compare others with."""

    names: tuple[str, ...]
    """Per output the value that is compared."""
    softmax: tuple[bool, ...]
    """Whether these are scores of a softmax over the last axis."""
    samples: tuple[Sample, ...]
    known: tuple[tuple[Array, ...], ...]
    """Per sample and output."""
    powers: tuple[float, ...]
    """Mean square of each output."""

    @classmethod
    def of(cls, program: Program, samples: Iterable[Sample]) -> Answers:
        """The answers of the original; inputs and outputs are kept, so large ones are of fewer samples."""
        outputs = [spec.name for spec in program.outputs]
        names = tuple(scores(program, name) for name in outputs)
        runner, room = Runner(program, names), _KEPT_BYTES
        kept: list[Sample] = []
        known: list[tuple[Array, ...]] = []
        for sample in samples:
            found = runner(sample)
            kept.append(sample)
            known.append(tuple(found[n] for n in names))
            room -= sum(array.nbytes for array in (*sample.values(), *known[-1]))
            if room < 0 and len(kept) >= _LEAST:
                break
        powers = tuple(float(np.mean([_square(one[i]) for one in known])) for i in range(len(names)))
        return cls(
            names,
            tuple(a != b for a, b in zip(names, outputs, strict=True)),
            tuple(kept),
            tuple(known),
            powers,
        )

    def divergence(self, other: Program) -> float:
        """The mean over the samples, summed over the outputs; 0 where all answers are the same.

        Of a softmax it is the Kullback-Leibler divergence at `TEMPERATURE`, of other outputs the squared
        error relative to the mean square.

        Args:
            other: With the same inputs and the same names of its outputs and their scores.
        """
        runner = Runner(other, self.names)
        return float(np.mean([self.of_sample(i, runner(sample)) for i, sample in enumerate(self.samples)]))

    def of_sample(self, index: int, found: Sample) -> float:
        """The divergence of other answers to one of the samples."""
        return sum(
            _softmax_divergence(want, found[name])
            if softmax
            else _square(found[name] - want) / (power + 1e-30)
            for name, softmax, want, power in zip(
                self.names, self.softmax, self.known[index], self.powers, strict=True
            )
        )


def _square(array: Array) -> float:
    return float(np.mean(np.square(array, dtype=np.float64)))


def _softmax_divergence(wanted: Array, found: Array) -> float:
    """At a temperature; its square keeps it as large as without."""
    first, second = map(_log_softmax, (wanted, found))
    return float(TEMPERATURE**2 * np.mean(np.sum(np.exp(first) * (first - second), axis=-1)))


def _log_softmax(array: Array) -> NDArray[np.float64]:
    scaled = np.asarray(array, np.float64) / TEMPERATURE
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    return np.asarray(scaled - np.log(np.sum(np.exp(scaled), axis=-1, keepdims=True)))
