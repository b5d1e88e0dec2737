"""The pass ``finetune``: distillation from the imported model, on inputs without labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgecut.frontends import data
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import constant, effects, numerics, split
from edgecut.passes.augment import Kind
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.budget import Budget, Judge
from edgecut.passes.finetune import distil
from edgecut.passes.finetune.distil import Training
from edgecut.passes.finetune.module import require_torch


@dataclass(frozen=True)
class Finetune(Pass):
    """Train what pruning left to answer as the imported model does.

    Needs PyTorch and inputs, but no labels. A quarter of the inputs is held out: the weights that do best on
    it are kept, and those it began with where none does better.
    """

    name: ClassVar[str] = "finetune"
    version: ClassVar[int] = 6
    cacheable: ClassVar[bool] = True
    numeric: ClassVar[bool] = True

    calibration: Path | None = option(None, help=".npz, .npy or folder of images", file=True)
    unlabelled: Path | None = option(
        None, help="more inputs, of anything alike: half of each batch, none of them judged by", file=True
    )
    samples: int | None = option(None, help="use only so many samples, from the start")
    epochs: int | None = option(
        None, help="times that the data are gone through, at most; default: as many as take some minutes"
    )
    learning_rate: float = option(
        4e-3, help="of Adam, relative to the weights, at the start; it falls along a cosine"
    )
    batch: int = option(64, help="samples per step")
    patience: int | None = option(
        None, help="end after so many epochs without a smaller error on held-out samples; default: a third"
    )
    seed: int = option(0, help="of the order of the samples, and of how they are altered")
    augment: Kind = option(
        "auto",
        help="auto: inputs altered and mixed anew in every epoch, some so that the original sees better "
        "ones; flip: images mirrored; none",
    )
    checkpoint: Path | None = option(None, help="file written after each epoch, to go on from if interrupted")
    max_accuracy_drop: float | None = option(None, help="budget: points of top-1, with labels")
    min_sqnr: float | None = option(None, help="budget: dB at the worst output")
    min_agreement: float | None = option(None, help="budget: share of samples with the same top-1, 0 to 1")
    best_effort: bool = option(False, help="go on where the budget cannot be met")

    def check_before(self, program: Program) -> None:
        """Refuse options that make no sense, a quantized program, and a Python without torch."""
        if self.calibration is None:
            raise UsageError("finetune needs calibration data", hint="--calibration DATA: real inputs")
        self._budget.check()
        for name in ("epochs", "batch", "patience", "samples", "learning_rate"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"is {value}", where=f"finetune{{{name}}}", hint="above 0")
        if any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in program.nodes):
            raise ModelError(
                "is quantized already", where=program.graph.name, hint="finetune before quantize"
            )
        require_torch()

    def run(self, program: Program, context: Context) -> Program:
        """Train, and judge on the held-out samples."""
        assert self.calibration is not None
        dataset = data.load(self.calibration, program.inputs, self.samples, numerics.classes(program))
        if len(dataset) < split.EVERY:
            what = f"{len(dataset)} samples are too few to train on"
            raise ModelError(what, where=str(self.calibration), hint="at least 100")
        self._budget.check_data(dataset, self.calibration, program)
        constant.tell(dataset, context)
        teacher, unseen = numerics.reference(program), split.test(dataset)
        judge = Judge(teacher, unseen, unseen.labels)
        before = judge.quality(program)
        how = Training(self.epochs, self.learning_rate, self.batch, self.patience, self.seed, self.augment)
        more = None if self.unlabelled is None else data.load(self.unlabelled, program.inputs)
        course = distil.train(teacher, program, dataset, how, self.checkpoint, context.progress, more)
        quality = judge.quality(program)
        self._budget.require(quality, program.graph.name, self.best_effort, context.warn)
        context.metrics = {
            "epochs": course.epochs, "best_epoch": course.best_epoch, "judged_on": len(unseen),
            "quality_before": str(before), "quality": str(quality),
            **judge.difference(program).metrics(), **effects.unchanged(program),
        }  # fmt: skip
        return program

    @property
    def _budget(self) -> Budget:
        return Budget(self.max_accuracy_drop, self.min_sqnr, self.min_agreement)
