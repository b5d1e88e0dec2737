"""What a compressed model may lose, and how much it does."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecut.frontends.data import Dataset
from edgecut.ir.errors import ConstraintError, ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import numerics
from edgecut.passes.divergence import scores
from edgecut.passes.numerics import Array, Difference, Runner, Sample

KEPT_BYTES = 64 << 20
# Errors below this, relative to the signal, are rounding of float32.
_LEAST = 1e-14


@dataclass(frozen=True)
class Budget:
    """Limits; None does not limit."""

    max_accuracy_drop: float | None = None
    """Percentage points of top-1, by the labels of the data."""
    min_sqnr: float | None = None
    """dB, at the worst output."""
    min_agreement: float | None = None
    """Share of samples with the same top-1, 0 to 1."""

    def __bool__(self) -> bool:
        """Whether anything is limited."""
        return any(v is not None for v in (self.max_accuracy_drop, self.min_sqnr, self.min_agreement))

    def check(self) -> None:
        """Refuse limits that no model is within, or any is.

        Raises:
            UsageError: One of them is NaN, infinite or out of its range.
        """
        ranges = {
            "min_agreement": (0.0, 1.0, "a share: 0.99 for 99 %"),
            "max_accuracy_drop": (0.0, 100.0, "points, 0 to 100"),
            "min_sqnr": (-sys.float_info.max, sys.float_info.max, "dB, such as 30"),
        }
        for name, (least, most, hint) in ranges.items():
            limit = getattr(self, name)
            if limit is not None and not least <= limit <= most:
                raise UsageError(f"{name} is {limit}", hint=hint)

    def check_data(self, dataset: Dataset, path: Path, program: Program) -> None:
        """Refuse data without the labels, or a program without the scores, that the budget is judged by.

        Raises:
            ModelError: There are none.
        """
        if self.max_accuracy_drop is not None and dataset.labels is None:
            hint = "an array `labels`, labels.csv in a folder, or min_agreement instead"
            raise ModelError("has no labels, which max_accuracy_drop needs", where=str(path), hint=hint)
        classified = self.max_accuracy_drop is not None or self.min_agreement is not None
        if classified and numerics.classes(program) is None:
            what = "has no output of class scores [1, classes], by which top-1 is judged"
            raise ModelError(what, where=program.graph.name, hint="min_sqnr instead")

    def holds(self, found: "Quality") -> bool:
        """Whether a model of this quality is within the limits."""
        drop, agreement = found.accuracy_drop, found.agreement
        if self.max_accuracy_drop is not None and (drop is None or drop > self.max_accuracy_drop):
            return False
        if self.min_agreement is not None and (agreement is None or agreement < self.min_agreement):
            return False
        return self.min_sqnr is None or found.sqnr_db >= self.min_sqnr

    def require(
        self, found: "Quality", where: str | None, best_effort: bool, warn: Callable[[str], None]
    ) -> None:
        """Raise `ConstraintError` where a model of this quality is not within the limits, or only warn."""
        if self.holds(found):
            return
        what = f"the accuracy budget cannot be met: {found} at best"
        if not best_effort:
            hint = "nothing was changed; a wider budget, or best_effort"
            raise ConstraintError(what, where=where, hint=hint)
        warn(what)


@dataclass(frozen=True)
class Quality:
    """How a model compares with its reference."""

    sqnr_db: float
    agreement: float | None
    accuracy_drop: float | None
    """Percentage points; negative where the model does better."""

    @staticmethod
    def of(found: Difference) -> "Quality":
        """The quality that a comparison shows."""
        return Quality(found.sqnr_db, found.agreement, found.accuracy_drop)

    def __str__(self) -> str:
        parts = [f"{self.sqnr_db:.1f} dB"]
        if self.agreement is not None:
            parts.append(f"{100 * self.agreement:.1f} % agreement")
        if self.accuracy_drop is not None:
            parts.append(f"{self.accuracy_drop:.1f} points lost")
        return ", ".join(parts)


class Judge:
    """Compares models with a reference, whose answers it remembers.

    Args:
        reference: What is right.
        samples: Inputs; read anew for each model where they are more than `KEPT_BYTES`.
        labels: Class of each, or None.
        kept_bytes: Of answers that are remembered; what is more is computed anew for each model.
    """

    def __init__(
        self,
        reference: Program,
        samples: Iterable[Sample],
        labels: NDArray[np.int64] | None,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._names = [spec.name for spec in reference.outputs]
        self._scores = [scores(reference, name) for name in self._names]
        self._reference = Runner(reference, self._scores)
        self._samples = _kept(samples)
        self.labels = labels
        self._known: list[Sample] = []
        for sample in self._samples:
            results = self._reference(sample)
            kept_bytes -= sum(array.nbytes for array in results.values())
            if kept_bytes < 0:
                break
            self._known.append(results)

    def samples(self, limit: int | None = None) -> Iterable[Sample]:
        """The inputs, or the first of them; to be gone through once."""
        return islice(self._samples, limit)

    def quality(self, program: Program, limit: int | None = None) -> Quality:
        """How well a model does on the samples, or on the first of them."""
        return Quality.of(self.difference(program, limit))

    def errors(self, program: Program) -> NDArray[np.float64]:
        """Error power of each sample over the mean power of the signal, at the worst output: [samples].

        Outputs that are a softmax are looked at before it: after it a few undecided samples tell everything.
        """
        names = [scores(program, spec.name) for spec in program.outputs]
        run, found, signal = Runner(program, names), [], []
        for sample, want in self._answers():
            results = run(sample)
            pairs = [(want[known], results[name]) for known, name in zip(self._scores, names, strict=True)]
            found.append([_power(result - array) for array, result in pairs])
            signal.append([_power(array) for array, _ in pairs])
        relative = np.asarray(found) / np.maximum(np.mean(signal, axis=0), 1e-30)
        return np.asarray(relative[:, int(np.argmax(relative.mean(axis=0)))])

    def difference(self, program: Program, limit: int | None = None) -> Difference:
        """Run a model on the samples, or on the first of them."""
        run, difference = Runner(program), Difference()
        labels = repeat(None) if self.labels is None else self.labels.tolist()
        for (sample, want), label in zip(self._answers(limit), labels, strict=False):
            difference.add({name: want[name] for name in self._names}, run(sample), label)
        return difference

    def _answers(self, limit: int | None = None) -> Iterator[tuple[Sample, Sample]]:
        """Inputs, each with what the reference makes of it."""
        for index, sample in enumerate(self.samples(limit)):
            yield sample, self._known[index] if index < len(self._known) else self._reference(sample)


def is_less(after: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
    """Whether errors of the same samples have fallen, beyond what chance does with so few of them.

    The sum has to fall, which a few samples decide, and the mean of the logarithms, in which all count alike,
    by more than its standard error.
    """
    change = np.log(np.maximum(after, _LEAST)) - np.log(np.maximum(before, _LEAST))
    error = float(np.std(change, ddof=1)) / math.sqrt(len(change)) if len(change) > 1 else math.inf
    return bool(after.sum() < before.sum() and change.mean() < -error)


def decibel(errors: NDArray[np.float64]) -> float:
    """The mean error, in dB below the signal."""
    return round(-10 * math.log10(max(float(errors.mean()), _LEAST)), 3)


def _power(array: Array) -> float:
    return float(np.sum(np.square(array, dtype=np.float64)))


def _kept(samples: Iterable[Sample]) -> Iterable[Sample]:
    """Samples in memory, if they are few; else as they were given."""
    found: list[Sample] = []
    room = KEPT_BYTES
    for sample in samples:
        room -= sum(array.nbytes for array in sample.values())
        if room < 0:
            return samples
        found.append(sample)
    return found
