"""Teaches a pruned program what the original answers, on inputs without labels."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecut.frontends.data import Dataset
from edgecut.ir import files
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program
from edgecut.passes import augment, split
from edgecut.passes.augment import Augment
from edgecut.passes.finetune.module import Tensor, Trainable, require_torch
from edgecut.passes.numerics import Array, Runner

# An epoch counts as better from this share of the error on.
_BETTER = 0.999
# Root mean square that tensors of zeros, such as new biases, count as.
_LEAST = 1e-3


@dataclass(frozen=True)
class Training:
    """How it is trained."""

    epochs: int = 40
    learning_rate: float = 3e-3
    batch: int = 32
    patience: int = 10
    """Epochs without a smaller error on held-out samples after which it ends."""
    seed: int = 0
    augment: Augment = "none"


@dataclass(frozen=True)
class Course:
    """What came of it."""

    epochs: int
    """Epochs that were run, in earlier runs of the same training too."""
    best_epoch: int
    """The epoch whose weights were kept; 0 are those it began with."""
    before: float
    """Relative squared error of the scores on held-out samples."""
    after: float


def train(
    teacher: Program,
    student: Program,
    dataset: Dataset,
    how: Training,
    checkpoint: Path | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Course:
    """Minimize the squared error of the outputs, before a final softmax, and store the best weights.

    Args:
        teacher: The original.
        student: The pruned program, with the same inputs and outputs; its weights change in place.
        dataset: Inputs; every fourth is held out, and none of its labels is looked at.
        how: Settings.
        checkpoint: File written after each epoch, from which an interrupted training goes on.
        advance: Called after each epoch.

    Raises:
        ModelError: The student has operators that cannot be trained through.
        UsageError: torch is not installed, or the checkpoint is of another training.
    """
    torch = require_torch()
    outputs = [scores(student, spec.name) for spec in student.outputs]
    module = Trainable(student, outputs)
    module.check(next(iter(dataset)))
    key = _key(student, how)
    fit = _Examples.of(teacher, augment.apply(split.fit(dataset), how.augment))
    unseen = _Examples.of(teacher, split.test(dataset))
    run = _Run(torch, module, fit, unseen, how)
    if checkpoint is not None and checkpoint.exists():
        run.resume(checkpoint, key)
    for _ in range(run.epoch):
        advance()
    while run.epoch < how.epochs and run.epoch - run.best_epoch < how.patience:
        run.one_epoch()
        if checkpoint is not None:
            run.save(checkpoint, key)
        advance()
    module.load(run.best)
    module.store()
    return Course(run.epoch, run.best_epoch, run.before, run.lowest)


def scores(program: Program, output: str) -> str:
    """The value to compare: an output, or what goes into the softmax that makes it."""
    node = program.value(output).producer()
    if node is None or node.op_type not in ("Softmax", "LogSoftmax") or node.inputs[0] is None:
        return output
    return node.inputs[0].name or output


@dataclass(frozen=True)
class _Examples:
    """Inputs and the teacher's answers, each stacked along a new first axis."""

    inputs: dict[str, Array]
    answers: list[Array]
    scales: list[float]
    """Mean square of each answer."""
    centred: list[bool]
    """Whether it goes into a softmax, which does not see the mean: that is left out."""

    @classmethod
    def of(cls, teacher: Program, dataset: Dataset) -> _Examples:
        outputs = [spec.name for spec in teacher.outputs]
        names = [scores(teacher, name) for name in outputs]
        centred = [name != output for name, output in zip(names, outputs, strict=True)]
        runner = Runner(teacher, names)
        inputs: dict[str, list[Array]] = {}
        answers: list[list[Array]] = [[] for _ in names]
        for sample in dataset:
            found = runner(sample)
            for name, array in sample.items():
                inputs.setdefault(name, []).append(array)
            for kept, name, centre in zip(answers, names, centred, strict=True):
                kept.append(found[name] - found[name].mean(-1, keepdims=True) if centre else found[name])
        stacked = [np.stack(kept) for kept in answers]
        scale = [float(np.mean(a.astype(np.float64) ** 2)) + 1e-30 for a in stacked]
        return cls({n: np.stack(a) for n, a in inputs.items()}, stacked, scale, centred)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


class _Run:
    """A training under way."""

    def __init__(
        self, torch: Any, module: Trainable, fit: _Examples, unseen: _Examples, how: Training
    ) -> None:
        self._torch, self._module, self._fit, self._unseen, self._how = torch, module, fit, unseen, how
        self._random = np.random.default_rng(how.seed)
        # Steps are relative to the size of a tensor: a layer that reads pixels of 0 to 255 has tiny weights.
        self._sizes = [
            max(float(p.detach().square().mean().sqrt()), _LEAST) for p in module.parameters.values()
        ]
        self._optimizer = torch.optim.Adam([{"params": [p]} for p in module.parameters.values()])
        self.epoch = self.best_epoch = 0
        self.best = module.state()
        self.before = self.lowest = self._error()

    def one_epoch(self) -> None:
        """Go through the samples once, in a new order, and remember the weights if they are better."""
        rate = self._how.learning_rate * 0.5 * (1 + math.cos(math.pi * self.epoch / self._how.epochs))
        for group, size in zip(self._optimizer.param_groups, self._sizes, strict=True):
            group["lr"] = rate * size
        order = self._random.permutation(len(self._fit))
        for start in range(0, len(order), self._how.batch):
            loss = self._loss(self._fit, order[start : start + self._how.batch])
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        self.epoch += 1
        error = self._error()
        if error < _BETTER * self.lowest:
            self.lowest, self.best, self.best_epoch = error, self._module.state(), self.epoch

    def save(self, path: Path, key: str) -> None:
        """Write all that it takes to go on, whole or not at all."""
        state = {
            "key": key, "epoch": self.epoch, "best_epoch": self.best_epoch, "before": self.before,
            "lowest": self.lowest, "optimizer": self._optimizer.state_dict(),
            "weights": self._tensors(self._module.state()), "best": self._tensors(self.best),
        }  # fmt: skip
        data = io.BytesIO()
        self._torch.save(state, data)
        files.write(path, data.getvalue())

    def resume(self, path: Path, key: str) -> None:
        """Go on where a checkpoint was written."""
        try:
            state = self._torch.load(path, weights_only=True)
            known = state["key"]
        except Exception as error:  # torch, zipfile and pickle raise what they like for a damaged file
            raise UsageError("is no checkpoint of a training", where=str(path), hint="delete it") from error
        if known != key:
            raise UsageError("is of another model or other settings", where=str(path), hint="delete it")
        self._module.load({n: t.numpy() for n, t in state["weights"].items()})
        self.best = {n: t.numpy() for n, t in state["best"].items()}
        self._optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.best_epoch = state["epoch"], state["best_epoch"]
        self.before, self.lowest = state["before"], state["lowest"]
        for _ in range(self.epoch):  # the orders that were drawn already
            self._random.permutation(len(self._fit))

    def _tensors(self, state: Mapping[str, Array]) -> dict[str, Tensor]:
        return {name: self._torch.from_numpy(array) for name, array in state.items()}

    def _error(self) -> float:
        total = 0.0
        with self._torch.no_grad():
            for start in range(0, len(self._unseen), self._how.batch):
                at = np.arange(start, min(start + self._how.batch, len(self._unseen)))
                total += len(at) * float(self._loss(self._unseen, at))
        return total / len(self._unseen)

    def _loss(self, examples: _Examples, at: Array) -> Tensor:
        batch = {n: self._torch.from_numpy(array[at]) for n, array in examples.inputs.items()}
        found = self._module(batch)
        loss = 0.0
        parts = zip(found, examples.answers, examples.scales, examples.centred, strict=True)
        for tensor, answers, scale, centre in parts:
            scored = tensor - tensor.mean(dim=-1, keepdim=True) if centre else tensor
            loss = loss + ((scored - self._torch.from_numpy(answers[at])) ** 2).mean() / scale
        return loss


def _key(program: Program, how: Training) -> str:
    return hashlib.sha256(program.bytes() + repr(how).encode()).hexdigest()
