"""The pass ``correct-bias``: takes out of each layer the mean error that quantization put into it."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.frontends import data
from edgecut.frontends.data import Dataset
from edgecut.ir import annotations, store
from edgecut.ir.annotations import Quantization
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program, history
from edgecut.passes import effects, numerics, split
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.budget import Judge, decibel, is_less
from edgecut.passes.quantize import effort

Floats = NDArray[np.float64]
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm"})


@dataclass(frozen=True)
class CorrectBias(Pass):
    """Shift the biases of a quantized program by the mean error of their layers on calibration data.

    Layer after the other, so that each sees what those before it now give. A shift is kept only where that of
    one half of the samples lowers the error of the outputs on the other half.
    """

    name: ClassVar[str] = "correct-bias"
    cacheable: ClassVar[bool] = True
    version: ClassVar[int] = 5
    numeric: ClassVar[bool] = True

    calibration: Path | None = option(None, help=".npz, .npy or folder of images", file=True)
    samples: int | None = option(256, help="use only so many samples, from the start")

    def check_before(self, program: Program) -> None:
        """Refuse a program that `quantize` did not make."""
        if self.calibration is None:
            raise UsageError("correct-bias needs calibration data", hint="calibration=DATA")
        if self.samples is not None and self.samples < split.EVERY:
            raise UsageError(
                f"is {self.samples}", where="correct-bias{samples}", hint=f"at least {split.EVERY}"
            )
        record = annotations.get(program.model, Quantization)
        if (record is None or not record.original) and not _left_in_float(program):
            raise ModelError("is not quantized", where=program.graph.name, hint="quantize it first")

    def run(self, program: Program, context: Context) -> Program:
        """Correct layer after layer."""
        assert self.calibration is not None
        if _left_in_float(program):
            return program
        record = annotations.require(program.model, Quantization, "quantize it first")
        original = store.reference(record.original)
        dataset = data.load(self.calibration, program.inputs, self.samples)
        if len(dataset) < split.EVERY:
            what = f"{len(dataset)} samples are too few"
            raise ModelError(what, where=str(self.calibration), hint=f"at least {split.EVERY}")
        nodes = [n for n in program.nodes if _bias(n) is not None]
        dataset = effort.bounded(dataset, original, len(nodes))
        trial = _Trial.of(program, original, dataset)
        first = best = trial.errors()
        kept = 0
        with context.progress.task("correcting biases", len(nodes)) as advance:
            for node in nodes:
                errors = trial.corrected(node, best)
                kept, best = kept + (errors is not best), errors
                advance()
        if not kept:
            what = f"correcting biases lowers the error nowhere, on {len(dataset)} samples"
            context.warn(f"{what}: none was changed")
        found = numerics.compare(trial.reference, program, dataset, dataset.labels)
        figures = {"error_db_before": decibel(first), "error_db": decibel(best)}
        context.metrics = {**found.metrics(), **figures, "layers": kept, **effects.unchanged(program)}
        return program


@dataclass(frozen=True)
class _Trial:
    """Finds shifts from one half of the samples and judges them on the other, both ways round."""

    program: Program
    original: Program
    reference: Program
    halves: tuple[Dataset, Dataset]
    judges: tuple[Judge, Judge]

    @classmethod
    def of(cls, program: Program, original: Program, dataset: Dataset) -> "_Trial":
        first, second = halves = split.halves(dataset)
        reference = numerics.reference(program, original)
        judges = Judge(reference, second, None), Judge(reference, first, None)
        return cls(program, original, reference, halves, judges)

    def errors(self) -> Floats:
        """Error of each sample."""
        return np.concatenate([judge.errors(self.program) for judge in self.judges])

    def corrected(self, node: oir.Node, before: Floats) -> Floats:
        """Correct one layer, or leave it as it is; the errors then.

        What is kept is the mean of the shifts of both halves.
        """
        bias = _bias(node)
        assert bias is not None
        old = bias.const_value
        assert old is not None
        step = np.asarray(_constant(node.inputs[2], 1), np.float64)
        shifts = [_mean_error(self.program, self.original, node, half) / step for half in self.halves]
        found = []
        for shift, judge in zip(shifts, self.judges, strict=True):
            bias.const_value = _shifted(old, shift)
            found.append(judge.errors(self.program))
        errors = np.concatenate(found)
        better = is_less(errors, before)
        bias.const_value = _shifted(old, (shifts[0] + shifts[1]) / 2) if better else old
        return errors if better else before


def _shifted(bias: oir.TensorProtocol, shift: Floats) -> oir.TensorProtocol:
    limits = np.iinfo(np.int32)
    new = np.clip(bias.numpy() + np.rint(shift), limits.min, limits.max).astype(np.int32)
    return oir.tensor(new, name=bias.name)


def _left_in_float(program: Program) -> bool:
    """Whether `quantize` was run, and found that nothing is to run on integers."""
    steps = history(program).steps
    return bool(steps) and steps[-1].text.startswith("quantize") and steps[-1].metrics.get("int8_nodes") == 0


def _mean_error(program: Program, original: Program, node: oir.Node, dataset: Dataset) -> Floats:
    """What the quantized layer lacks on average, per channel, as far as it is not chance.

    The less a mean is above its standard error, the more it is drawn towards 0.
    """
    found = node.outputs[0].name or ""
    wanted = next(n for n in original.nodes if n.name == node.name).outputs[0].name or ""
    real, rounded = numerics.probe(original, wanted), numerics.probe(program, found)
    axis = 1 if node.op_type.startswith("Conv") else -1
    rows = []
    for sample in dataset:
        missing = np.moveaxis(real(sample).astype(np.float64) - rounded(sample), axis, -1)
        rows.append(missing.reshape(-1, missing.shape[-1]).mean(axis=0))
    means = np.stack(rows)
    mean, square = means.mean(axis=0), means.var(axis=0, ddof=1) / len(means)
    return np.asarray(mean * np.maximum(0, 1 - square / np.maximum(mean**2, 1e-30)))


def _bias(node: oir.Node) -> oir.Value | None:
    """The int32 bias of a quantized layer that no other layer shares."""
    if node.op_type not in _WEIGHTED or len(node.inputs) < 3 or node.inputs[2] is None:
        return None
    maker = node.inputs[2].producer()
    if maker is None or maker.op_type != "DequantizeLinear" or len(node.inputs[2].uses()) > 1:
        return None
    value = maker.inputs[0]
    fits = value is not None and value.const_value is not None and value.dtype == oir.DataType.INT32
    return value if fits else None


def _constant(value: oir.Value | None, index: int) -> NDArray[np.generic]:
    maker = None if value is None else value.producer()
    assert maker is not None
    tensor = maker.inputs[index]
    assert tensor is not None
    assert tensor.const_value is not None
    return tensor.const_value.numpy()
