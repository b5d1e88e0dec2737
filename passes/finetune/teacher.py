"""What the original answers to batches of inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecut.frontends.data import Dataset
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program
from edgecut.passes.divergence import scores
from edgecut.passes.finetune.module import Trainable
from edgecut.passes.numerics import Array, Runner, Sample


@dataclass(frozen=True)
class Teacher:
    """The original, and which of its values are compared."""

    names: list[str]
    softmax: list[bool]
    """Whether the first of these, those of outputs, are scores of a softmax."""
    run: Runner

    @classmethod
    def of(cls, program: Program, others: Sequence[str] = ()) -> Teacher:
        """Of all outputs, and then of other values."""
        outputs = [spec.name for spec in program.outputs]
        names = [scores(program, name) for name in outputs]
        softmax = [n != o for n, o in zip(names, outputs, strict=True)]
        return cls([*names, *others], softmax, Runner(program, [*names, *others]))

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Each [samples, *shape in the graph], for inputs alike."""
        count = len(next(iter(inputs.values())))
        found = [self.run({n: a[i] for n, a in inputs.items()}) for i in range(count)]
        return [np.stack([one[name] for one in found]) for name in self.names]


def as_module(program: Program, names: Sequence[str], sample: Sample) -> Trainable | None:
    """The original in torch, which takes whole batches, and bfloat16; None where torch cannot compute it so.

    Args:
        program: The original.
        names: Of the values to return.
        sample: An input to compare with ONNX Runtime on.
    """
    try:
        module = Trainable(program, names)
        module.check(sample)
    except (ModelError, NotImplementedError):
        return None
    return module if module.takes_batches else None


def stacked(dataset: Dataset) -> dict[str, Array]:
    """All samples, each input stacked along a new first axis."""
    found: dict[str, list[Array]] = {}
    for sample in dataset:
        for name, array in sample.items():
            found.setdefault(name, []).append(array)
    return {name: np.stack(arrays) for name, arrays in found.items()}
