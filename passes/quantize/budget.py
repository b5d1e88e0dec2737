"""What a quantized model may lose, and how much it does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecut.ir.program import Program
from edgecut.passes.numerics import Array, Difference, Runner, Sample


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

    def holds(self, found: "Quality") -> bool:
        """Whether a model of this quality is within the limits."""
        drop, agreement = found.accuracy_drop, found.agreement
        if self.max_accuracy_drop is not None and (drop is None or drop > self.max_accuracy_drop):
            return False
        if self.min_agreement is not None and (agreement is None or agreement < self.min_agreement):
            return False
        return self.min_sqnr is None or found.sqnr_db >= self.min_sqnr


@dataclass(frozen=True)
class Quality:
    """How a model compares with its reference."""

    sqnr_db: float
    agreement: float | None
    accuracy_drop: float | None
    """Percentage points; negative where the model does better."""

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
        samples: Inputs; as many answers are kept in memory.
        labels: Class of each, or None.
    """

    def __init__(
        self, reference: Program, samples: Iterable[Sample], labels: NDArray[np.int64] | None
    ) -> None:
        run = Runner(reference)
        self.samples = list(samples)
        self.labels = labels
        self.expected = [run(sample) for sample in self.samples]

    def quality(self, program: Program) -> Quality:
        """Run a model on the samples."""
        run, difference = Runner(program), Difference()
        found = [run(sample) for sample in self.samples]
        for want, got in zip(self.expected, found, strict=True):
            difference.add(want, got)
        drop = None
        if self.labels is not None and difference.rows:
            drop = 100 * (self._accuracy(self.expected) - self._accuracy(found))
        return Quality(difference.sqnr_db, difference.agreement, drop)

    def _accuracy(self, answers: Sequence[dict[str, Array]]) -> float:
        assert self.labels is not None
        name = next(n for n, a in answers[0].items() if a.ndim == 2 and a.shape[1] > 1)
        classes = np.asarray([int(answer[name].argmax()) for answer in answers])
        return float(np.mean(classes == self.labels))
