"""The pass ``equalize``: channels of about the same range, so that one 8-bit grid serves them all.

A channel may be made larger where it is computed and its weights smaller where it is read: in float nothing
changes. How far that helps depends on what the weights lose by it, so each step is kept only where it is seen
to lower the error of the quantized model.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.frontends import data
from edgecut.frontends.data import Dataset
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import constant, effects, numerics, split
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.budget import Judge, decibel, is_less
from edgecut.passes.numerics import Runner, Sample
from edgecut.passes.prune import rules
from edgecut.passes.prune.dims import ChannelGroup
from edgecut.passes.quantize import effort, integers, region
from edgecut.passes.quantize.calibrate import Method

Floats = NDArray[np.float64]

# f(s x) = s f(x) for every s > 0, channel by channel.
HOMOGENEOUS = frozenset(
    {"Conv", "Gemm", "MatMul", "Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat"}
    | {"Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Add", "ReduceMean", "Pad"}
)
# How ranges may follow from the data: what `quantize` tries too.
METHODS: tuple[Method, ...] = ("mse", "minmax")
# How much of the difference in range is taken away, in the order in which it is tried.
STRENGTHS = (1.0, 0.5)
# No channel is made more than so many times larger: beyond it there is nothing but noise in it.
LARGEST = 32.0


@dataclass(frozen=True)
class Equalize(Pass):
    """Rescale channels between layers, before `quantize`, where that lowers the error of int8."""

    name: ClassVar[str] = "equalize"
    version: ClassVar[int] = 5
    cacheable: ClassVar[bool] = True
    numeric: ClassVar[bool] = True

    calibration: Path | None = option(None, help=".npz, .npy or folder of images", file=True)
    samples: int | None = option(256, help="use only so many samples, from the start")

    def check_before(self, program: Program) -> None:
        """Refuse what cannot be calibrated, or is quantized already."""
        if self.calibration is None:
            raise UsageError("equalize needs calibration data", hint="calibration=DATA")
        if self.samples is not None and self.samples < split.EVERY:
            raise UsageError(f"is {self.samples}", where="equalize{samples}", hint=f"at least {split.EVERY}")
        if any(n.op_type == "QuantizeLinear" for n in program.nodes):
            raise ModelError(
                "is quantized already", where=program.graph.name, hint="equalize before quantize"
            )

    def run(self, program: Program, context: Context) -> Program:
        """Try each group of channels that depend on each other."""
        assert self.calibration is not None
        dataset = data.load(self.calibration, program.inputs, self.samples)
        if len(dataset) < split.EVERY:
            what = f"{len(dataset)} samples are too few"
            raise ModelError(what, where=str(self.calibration), hint=f"at least {split.EVERY}")
        if not region.select(program).nodes:
            raise ModelError("has nothing to quantize, so nothing to equalize", where=program.graph.name)
        constant.tell(dataset, context)
        count = len(_groups(program))
        dataset = effort.bounded(dataset, program, count * len(STRENGTHS))
        trial = _Trial.of(numerics.reference(program), dataset)
        first = best = trial.errors(program)
        kept = 0
        with context.progress.task("equalizing", count) as advance:
            for index in range(count):
                for strength in STRENGTHS:
                    candidate = program.copy()
                    _rescale(candidate, _groups(candidate)[index], dataset, strength)
                    found = trial.errors(candidate)
                    if is_less(found, best):
                        program, best, kept = candidate, found, kept + 1
                        break
                advance()
        if not kept:
            what = f"equalizing lowers the error nowhere, on {len(dataset)} samples"
            context.warn(f"{what}: nothing was changed")
        same = numerics.compare(trial.reference, program, dataset, dataset.labels)
        figures = {"error_db_before": decibel(first), "error_db": decibel(best)}
        context.metrics = {
            **same.metrics(), **figures, "groups": kept, "groups_tried": count, **effects.unchanged(program)
        }  # fmt: skip
        return program


@dataclass(frozen=True)
class _Trial:
    """Quantizes with the ranges of one half of the samples and judges on the other, both ways round."""

    reference: Program
    halves: tuple[Dataset, Dataset]
    judges: tuple[Judge, Judge]

    @classmethod
    def of(cls, reference: Program, dataset: Dataset) -> "_Trial":
        first, second = halves = split.halves(dataset)
        return cls(reference, halves, (Judge(reference, second, None), Judge(reference, first, None)))

    def errors(self, program: Program) -> Floats:
        """Error of each sample, with the better way to find ranges."""
        return min((self._errors(program, method) for method in METHODS), key=lambda e: float(e.sum()))

    def _errors(self, program: Program, method: Method) -> Floats:
        found = []
        for half, judge in zip(self.halves, self.judges, strict=True):
            found.append(judge.errors(integers.calibrated(program.copy(), half, method).quantized()))
        return np.concatenate(found)


def _groups(program: Program) -> list[ChannelGroup]:
    """Groups of channels whose values pass through homogeneous operators only."""
    return [group for group in rules.analyse(program).groups() if _is_homogeneous(group)]


def _is_homogeneous(group: ChannelGroup) -> bool:
    values = [value for value, _ in group.axes]
    nodes = {n for v in values for n in (v.producer(), *(user for user, _ in v.uses())) if n is not None}
    shared = any(v.const_value is not None and len(v.uses()) > 1 for v in values)
    return not shared and all(n.op_type in HOMOGENEOUS for n in nodes)


def _rescale(program: Program, group: ChannelGroup, samples: Iterable[Sample], strength: float) -> None:
    """Make channels of a group larger, the smaller they are; the program computes the same in float."""
    largest = _largest(program, group, samples)
    if not largest.any():
        return
    ratio = largest.max() / np.where(largest > 0, largest, largest.max())
    factors = np.minimum(ratio**strength, LARGEST)
    for value, axis in group.axes:
        power = _role(value, axis)
        if value.const_value is None or not power:
            continue
        array = np.array(value.const_value.numpy(), np.float64)
        scale = np.ones(array.shape[axis])
        for channel, factor in zip(group.channels, factors, strict=True):
            scale[list(dict(channel.places)[value, axis])] = factor**power
        shape = [-1 if i == axis else 1 for i in range(array.ndim)]
        value.const_value = oir.tensor((array * scale.reshape(shape)).astype(np.float32), name=value.name)


def _role(value: oir.Value, axis: int) -> int:
    """1 where an axis of a weight makes the channels, -1 where it reads them, 0 where it does both."""
    node, index = next(iter(value.uses()), (None, 0))
    if node is None or value.const_value is None:
        return 0
    if index != 1 or node.op_type == "Add":
        return 1
    if node.op_type == "Conv":
        depthwise = rules.integer(node, "group", 1) > 1 and value.const_value.shape[1] == 1
        return 0 if depthwise else (1 if axis == 0 else -1)
    made = 0 if node.op_type == "Gemm" and rules.integer(node, "transB", 0) else 1
    return 1 if axis == made else -1


def _largest(program: Program, group: ChannelGroup, samples: Iterable[Sample]) -> Floats:
    """The largest magnitude of each channel, over all values that hold one position of each."""
    first = dict(group.channels[0].places)
    axes = [(v, axis) for v, axis in group.axes if v.const_value is None and len(first[v, axis]) == 1]
    positions = {(v, axis): [dict(c.places)[v, axis][0] for c in group.channels] for v, axis in axes}
    runner = Runner(program, [v.name or "" for v, _ in axes])
    found = np.zeros(len(group.channels))
    for sample in samples:
        results = runner(sample)
        for (value, axis), at in positions.items():
            array = np.abs(np.moveaxis(results[value.name or ""], axis, 0))[at]
            found = np.maximum(found, array.reshape(len(at), -1).max(axis=1))
    return found
