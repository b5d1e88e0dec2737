"""Runs programs in ONNX Runtime, and measures how far one is from another on real inputs."""

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from edgecut.ir import annotations, extract, sessions, store
from edgecut.ir.annotations import Reference
from edgecut.ir.errors import ModelError
from edgecut.ir.program import EXTERNAL_DATA_THRESHOLD, Program

Array = np.ndarray[Any, np.dtype[Any]]
Sample = Mapping[str, Array]

# What an exact result is reported as: records are JSON, which has no infinity.
MAX_SQNR_DB = 200.0


class Runner:
    """A program loaded in ONNX Runtime on one thread of the CPU, so that results are reproducible.

    Args:
        program: What to run; it is not changed.
        observe: Names of further values to return, besides the outputs.
        optimize: Let ONNX Runtime fuse operators; without it every node computes exactly what it says.

    Raises:
        ModelError: ONNX Runtime cannot run the program.
    """

    def __init__(self, program: Program, observe: Sequence[str] = (), *, optimize: bool = True) -> None:
        observed = _with_outputs(program, observe) if observe else program
        self.names = [spec.name for spec in observed.outputs]
        self._session = _session(observed, optimize)

    def __call__(self, sample: Sample) -> dict[str, Array]:
        """The outputs for one sample, by name.

        Raises:
            ModelError: The sample does not fit, or an operator fails on it.
        """
        try:
            return dict(zip(self.names, self._session.run(self.names, dict(sample)), strict=True))
        except Exception as error:  # onnxruntime raises classes of its own, one per status
            raise ModelError(f"ONNX Runtime fails on a sample: {_first_line(error)}") from error


@dataclass
class Difference:
    """How far one program's outputs are from another's, sample by sample, in bounded memory."""

    samples: int = 0
    signal: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    same: int = 0
    rows: int = 0
    """Rows of scores compared; 0 where no output holds any."""
    right: tuple[int, int] = (0, 0)
    """Of the samples with a label: how many the expected and the found outputs classify rightly."""
    labelled: int = 0

    def add(self, expected: Sample, found: Sample, label: int | None = None) -> None:
        """Count one sample's outputs; both must hold the names of ``expected``."""
        self.samples += 1
        for name, want in expected.items():
            wide = want.astype(np.float64)
            error = found[name].astype(np.float64) - wide
            self.signal[name] = self.signal.get(name, 0.0) + float(np.sum(wide * wide))
            self.noise[name] = self.noise.get(name, 0.0) + float(np.sum(error * error))
        scores = next((n for n, a in expected.items() if a.ndim == 2 and a.shape[1] > 1), None)
        if scores is not None:
            same = expected[scores].argmax(axis=1) == found[scores].argmax(axis=1)
            self.same, self.rows = self.same + int(same.sum()), self.rows + len(same)
        if scores is not None and label is not None:
            before, after = (int(answer[scores].argmax() == label) for answer in (expected, found))
            self.right, self.labelled = (self.right[0] + before, self.right[1] + after), self.labelled + 1

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise of the worst output, in dB; at most `MAX_SQNR_DB`."""
        return min((_decibel(self.signal[n], self.noise[n]) for n in self.signal), default=MAX_SQNR_DB)

    @property
    def agreement(self) -> float | None:
        """Share of samples whose highest score is of the same class, or None."""
        return self.same / self.rows if self.rows else None

    @property
    def accuracy(self) -> tuple[float, float] | None:
        """Share of labelled samples classified rightly by the expected and by the found outputs."""
        return (self.right[0] / self.labelled, self.right[1] / self.labelled) if self.labelled else None

    @property
    def accuracy_drop(self) -> float | None:
        """Percentage points of top-1 lost; negative where the found outputs are better."""
        return None if self.accuracy is None else 100 * (self.accuracy[0] - self.accuracy[1])

    def metrics(self) -> dict[str, float | str]:
        """The figures as a pass reports them."""
        figures: dict[str, float | str] = {"samples": self.samples, "sqnr_db": round(self.sqnr_db, 3)}
        if self.agreement is not None:
            figures["agreement"] = round(self.agreement, 4)
        if self.accuracy is not None:
            before, after = self.accuracy
            figures |= {"accuracy_before": round(before, 4), "accuracy": round(after, 4)}
        return figures


def classes(program: Program) -> int | None:
    """Number of classes of the first output that holds class scores [1, classes]; None where none does."""
    widths = (spec.shape[1] for spec in program.outputs if len(spec.shape) == 2)
    return next((width for width in widths if isinstance(width, int) and width > 1), None)


def reference(program: Program, otherwise: Program | None = None) -> Program:
    """What a program is compared with: the imported model, or where none is known ``otherwise``, or itself.

    Raises:
        ModelError: The store no longer holds the imported model.
    """
    found = annotations.get(program.model, Reference)
    return (otherwise or program).copy() if found is None else store.reference(found.key)


def compare(
    expected: Program, found: Program, samples: Iterable[Sample], labels: Iterable[int] | None = None
) -> Difference:
    """Run both programs on the same samples.

    Args:
        expected: What is right.
        found: What is compared with it.
        samples: Inputs.
        labels: Class of each, if they are known.

    Raises:
        ModelError: ONNX Runtime cannot run one of them.
    """
    first, second, difference = Runner(expected), Runner(found), Difference()
    for sample, label in zip(samples, repeat(None) if labels is None else labels, strict=False):
        difference.add(first(sample), second(sample), label)
    return difference


def probe(program: Program, name: str) -> Callable[[Sample], Array]:
    """A function that computes one value from a sample, running only what it needs."""
    inputs = [spec.name for spec in program.inputs]
    if name in inputs:
        return lambda sample: sample[name]
    part = extract.subgraph(program, inputs, [name], "probe")
    used = {spec.name for spec in part.inputs}
    runner = Runner(part)
    return lambda sample: runner({k: v for k, v in sample.items() if k in used})[name]


def _with_outputs(program: Program, names: Sequence[str]) -> Program:
    copy = program.copy()
    present = {v.name for v in copy.graph.outputs}
    values = copy.values()
    copy.graph.outputs.extend(values[n] for n in dict.fromkeys(names) if n not in present)
    return copy


def _session(program: Program, optimize: bool) -> Any:
    import onnxruntime

    options = sessions.options(optimize=optimize, quiet=True)
    provider = ["CPUExecutionProvider"]
    try:
        if program.weight_bytes() < EXTERNAL_DATA_THRESHOLD:
            return onnxruntime.InferenceSession(program.bytes(), options, providers=provider)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            program.save(path)
            return onnxruntime.InferenceSession(str(path), options, providers=provider)
    except ModelError:
        raise
    except Exception as error:  # onnxruntime raises classes of its own, one per status
        raise ModelError(
            f"ONNX Runtime cannot run it: {_first_line(error)}", where=program.graph.name
        ) from error


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return MAX_SQNR_DB
    return min(MAX_SQNR_DB, 10 * math.log10(signal / noise)) if signal else 0.0


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
