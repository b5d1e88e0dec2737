"""Teaches a pruned program what the original answers, on inputs without labels."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgecut.frontends.data import Dataset
from edgecut.ir import files
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program
from edgecut.passes import effects, split
from edgecut.passes.augment import Kind, views
from edgecut.passes.augment.pool import Pool
from edgecut.passes.base import NoProgress, Progress
from edgecut.passes.divergence import scores
from edgecut.passes.finetune import aims, features
from edgecut.passes.finetune.features import Feature
from edgecut.passes.finetune.module import Tensor, Trainable, has_bfloat16, require_torch
from edgecut.passes.finetune.teacher import Teacher, as_module, stacked
from edgecut.passes.numerics import Array

Inputs = Mapping[str, Array]

# An epoch counts as better from this share of the error on.
_BETTER = 0.999
# Root mean square that tensors of zeros, such as new biases, count as.
_LEAST = 1e-3
# What is kept is the mean of the weights over about 1 / (1 - it) steps; each alone is noisy.
_AVERAGE = 0.995
# Share of the epochs in which products are of bfloat16, faster on processors that have it.
_COARSE = 0.9
# Numbers that further inputs may take in memory; of more some are chosen.
_NUMBERS = 100_000_000
# Views of each held-out sample.
_VIEWS = 3
# First steps, in which the learning rate rises.
_WARM = 20
# By default: multiply-accumulates of all samples together, some minutes of one core, and limits to epochs.
_WORK, _EPOCHS = 6e12, (10, 300)


@dataclass(frozen=True)
class Training:
    """How it is trained."""

    epochs: int | None = None
    """None: as many as take some minutes."""
    learning_rate: float = 4e-3
    batch: int = 64
    patience: int | None = None
    """Epochs without a smaller error on held-out samples after which it ends; None: a third of all."""
    seed: int = 0
    augment: Kind = "auto"

    def resolved(self, program: Program, samples: int) -> Training:
        """With what is left open decided."""
        work = max(1, effects.size(program).macs) * max(1, samples)
        epochs = self.epochs or int(np.clip(_WORK / work, *_EPOCHS))
        return replace(self, epochs=epochs, patience=self.patience or max(5, epochs // 3))


@dataclass(frozen=True)
class Course:
    """What came of it."""

    epochs: int
    """Epochs that were run, in earlier runs of the same training too."""
    best_epoch: int
    """The epoch whose weights were kept; 0 are those it began with."""
    before: float
    """Error on held-out samples."""
    after: float


def train(
    teacher: Program,
    student: Program,
    dataset: Dataset,
    how: Training,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    unlabelled: Dataset | None = None,
) -> Course:
    """Bring the outputs nearer to the teacher's, and store the best weights.

    The error is the Kullback-Leibler divergence where an output is a softmax, else the squared error relative
    to the answers. The narrow places of the network (see `features`) are taught along with the outputs.

    Args:
        teacher: The original.
        student: The pruned program, with the same inputs and outputs; its weights change in place.
        dataset: Inputs; every fourth is held out, and none of its labels is looked at.
        how: Settings.
        checkpoint: File written after each epoch, from which an interrupted training goes on.
        progress: Shows the epochs.
        unlabelled: More inputs; half of each batch is of them.

    Raises:
        ModelError: The student has operators that cannot be trained through.
        UsageError: torch is not installed, or the checkpoint is of another training.
    """
    torch = require_torch()
    how = how.resolved(student, len(dataset) * (1 if unlabelled is None else 2))
    fit, unseen = split.fit(dataset), split.test(dataset)
    taught = features.find(teacher, student, fit)
    outputs = [scores(student, spec.name) for spec in student.outputs]
    module = Trainable(student, [*outputs, *(feature.name for feature in taught)])
    module.check(next(iter(dataset)))
    assert how.epochs is not None
    assert how.patience is not None
    others = None if unlabelled is None else stacked(split.some(unlabelled, _room(unlabelled)))
    key = _key(student, how, others)
    run = _Run(torch, module, teacher, taught, stacked(fit), stacked(unseen), how, others)
    if checkpoint is not None and checkpoint.exists():
        run.resume(checkpoint, key)
    with (progress or NoProgress()).task("finetuning", how.epochs) as advance:
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


class _Run:
    """A training under way."""

    def __init__(
        self,
        torch: Any,
        module: Trainable,
        teacher: Program,
        taught: Sequence[Feature],
        fit: Inputs,
        unseen: Inputs,
        how: Training,
        others: Inputs | None,
    ) -> None:
        self._torch, self._module, self._how = torch, module, how
        self._pool = Pool.of(fit, others)
        self._teacher = Teacher.of(teacher, [feature.name for feature in taught])
        first = {name: array[0] for name, array in fit.items()}
        self._quick_teacher = (
            as_module(teacher, self._teacher.names, first) if self._may_be_coarse() else None
        )
        self._judged(unseen, Teacher.of(teacher), taught)
        # Steps are relative to the size of a tensor: a layer that reads pixels of 0 to 255 has tiny weights.
        self._sizes = [
            max(float(p.detach().square().mean().sqrt()), _LEAST) for p in module.parameters.values()
        ]
        groups = [{"params": [p]} for p in module.parameters.values()]
        self._optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
        self._mean = {n: p.detach().clone() for n, p in module.parameters.items()}
        self.epoch = self.best_epoch = self._step = 0
        self.best = module.state()
        self.before = self.lowest = self._error()

    def one_epoch(self) -> None:
        """Go through the samples once, altered anew, and remember the mean weights if they are better."""
        seed = [self._how.seed, self.epoch]
        order = self._order(np.random.default_rng(seed))
        size = self._how.batch
        for start in range(0, len(order), size):
            at = order[start : start + size]
            seen, given = self._views(self._pool.inputs, at, [*seed, start])
            self._set_rate(self.epoch + start / len(order))
            loss = self._taught_loss(seen, given)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self._average()
        self.epoch += 1
        weights = self._module.state()
        self._module.load({n: t.numpy() for n, t in self._mean.items()})
        error = self._error()
        if error < _BETTER * self.lowest:
            self.lowest, self.best, self.best_epoch = error, self._module.state(), self.epoch
        self._module.load(weights)

    def _set_rate(self, epoch: float) -> None:
        """The learning rate falls along half a cosine."""
        assert self._how.epochs is not None
        rate = self._how.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self._how.epochs))
        rate *= min(1.0, (self._step + 1) / _WARM)
        for group, size in zip(self._optimizer.param_groups, self._sizes, strict=True):
            group["lr"] = rate * size

    def _average(self) -> None:
        self._step += 1
        share = 1 - min(_AVERAGE, self._step / (self._step + 9))
        with self._torch.no_grad():
            for name, parameter in self._module.parameters.items():
                self._mean[name].lerp_(parameter, share)

    def save(self, path: Path, key: str) -> None:
        """Write all that it takes to go on, whole or not at all."""
        state = {
            "key": key, "epoch": self.epoch, "best_epoch": self.best_epoch, "before": self.before,
            "lowest": self.lowest, "step": self._step, "mean": self._mean,
            "optimizer": self._optimizer.state_dict(), "weights": self._tensors(self._module.state()),
            "best": self._tensors(self.best),
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
        self._step, self._mean = state["step"], state["mean"]

    def _tensors(self, state: Mapping[str, Array]) -> dict[str, Tensor]:
        return {name: self._torch.from_numpy(array) for name, array in state.items()}

    def _judged(self, unseen: Inputs, teacher: Teacher, taught: Sequence[Feature]) -> None:
        """Have the original answer what is held out, in views that stay the same."""
        count = len(next(iter(unseen.values())))
        at = np.tile(np.arange(count), 1 if self._how.augment == "none" else _VIEWS)
        seen, self._unseen = self._views(unseen, at, [0, 1])
        known = teacher(seen)
        self._known = [self._torch.from_numpy(a) for a in known]
        self._aims = aims.of(teacher.softmax, known, taught)

    def _views(self, inputs: Inputs, at: Array, seed: list[int]) -> tuple[Inputs, Inputs]:
        return views.batch(inputs, at, self._how.augment, self._pool.scales, seed)

    def _order(self, random: np.random.Generator) -> Array:
        """Positions of all own samples, and others in turns with them."""
        own = random.permutation(self._pool.own)
        if not self._pool.others:
            return own
        return np.stack([own, self._pool.drawn(random, len(own))], axis=1).ravel()

    def _error(self) -> float:
        total, count = 0.0, len(next(iter(self._unseen.values())))
        with self._torch.no_grad():
            for start in range(0, count, self._how.batch):
                at = slice(start, start + self._how.batch)
                found = self._module({n: self._torch.from_numpy(a[at]) for n, a in self._unseen.items()})
                total += float(self._loss(found, [a[at] for a in self._known]))
        return total / count

    def _taught_loss(self, seen: Inputs, given: Inputs) -> Tensor:
        """What is minimized: the error of the outputs, and the mean one of the features."""
        tensors = {n: self._torch.from_numpy(a) for n, a in given.items()}
        with self._torch.autocast("cpu", self._torch.bfloat16, enabled=self._is_coarse()):
            found = [tensor.float() for tensor in self._module(tensors)]
        return self._loss(found, self._answers(seen)) / len(found[0])

    def _answers(self, inputs: Inputs) -> list[Tensor]:
        """The original's, no more exact than the student's own."""
        if self._quick_teacher is None or not self._is_coarse():
            return [self._torch.from_numpy(array) for array in self._teacher(inputs)]
        tensors = {n: self._torch.from_numpy(a) for n, a in inputs.items()}
        with self._torch.no_grad(), self._torch.autocast("cpu", self._torch.bfloat16):
            return [tensor.float() for tensor in self._quick_teacher(tensors)]

    def _is_coarse(self) -> bool:
        """Whether products are of bfloat16: while steps are large."""
        assert self._how.epochs is not None
        return self._may_be_coarse() and self.epoch < _COARSE * self._how.epochs

    def _may_be_coarse(self) -> bool:
        return self._module.takes_batches and has_bfloat16()

    def _loss(self, found: Sequence[Tensor], answers: Sequence[Tensor]) -> Tensor:
        """Of all samples, by the aims that there are answers for."""
        return sum(
            aim.loss(aim.found(tensor), aim.wanted(wanted))
            for aim, tensor, wanted in zip(self._aims, found, answers, strict=False)
        )


def _room(dataset: Dataset) -> int:
    """Samples that there is room for."""
    return int(_NUMBERS // max(1, sum(array.size for array in next(iter(dataset)).values())))


def _key(program: Program, how: Training, others: Inputs | None) -> str:
    digest = hashlib.sha256(program.bytes() + repr(how).encode())
    for name, array in sorted((others or {}).items()):
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
