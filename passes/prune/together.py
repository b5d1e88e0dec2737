"""Refits all layers of the pruned network at once, to the original's answers and to what leads to them.

Blocks refitted one by one each come as near to their own results as they can; what shows in the answers is
something else. Here the answers count, and the narrow places of the network along with them. It is least
squares still, of a network that is linearized anew at each step, on the original's activations, and without
labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import onnx_ir as oir

from edgecut.frontends.data import Dataset
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program
from edgecut.passes import effects, split
from edgecut.passes.augment import Kind, views
from edgecut.passes.augment.pool import Pool
from edgecut.passes.base import Progress
from edgecut.passes.divergence import scores
from edgecut.passes.finetune import aims, features
from edgecut.passes.finetune.module import Trainable, has_bfloat16, require_torch
from edgecut.passes.finetune.teacher import Teacher, as_module, stacked
from edgecut.passes.numerics import Array
from edgecut.passes.prune.curvature import Tensor
from edgecut.passes.prune.newton import Batch, Effort, Solver

# Steps at most, and of those one after another that do not help.
_STEPS, _MISSED = 10, 2
# Divergence of the answers that is not worth any work.
_NOTHING = 1e-6
# Share of it that has to go altogether: less, on few samples held out, can be chance, and harm others.
_GAIN = 0.05
# Of so many samples that a step is found from, one judges it, in several views.
_JUDGES = 8
# Multiply-accumulates of one pass with all samples of a step, for some twenty seconds of one core in all;
# limits to the samples, and numbers that they may take.
_WORK, _SAMPLES, _NUMBERS = 6e10, (48, 8192), 1e8
# New views of a sample in one step at most, and of each held-out one to judge by.
_VIEWS = 4
# Each step is found from other samples, so that no single one has to be exact.
_GRADIENTS, _DAMPING = 5, 1e-2

Inputs = Mapping[str, Array]


def refit(
    before: Program,
    after: Program,
    dataset: Dataset,
    kind: Kind,
    unlabelled: Dataset | None,
    progress: Progress,
) -> None:
    """Correct the weights of the pruned program in place, where that does better on held-out samples.

    Args:
        before: The original.
        after: The pruned program, with the same names.
        dataset: Inputs; some are held out, to judge by.
        kind: How they are altered, anew for each step.
        unlabelled: More inputs, as many of which take part in each step.
        progress: Shows the steps.

    Raises:
        UsageError: torch is not installed.
    """
    fitter = _Fitter.of(before, after, dataset, kind, unlabelled)
    if fitter is None:
        return
    with progress.task("refitting the whole", _STEPS) as advance:
        weights = fitter.fit(advance)
    for name, array in weights.items():
        after.graph.initializers[name].const_value = oir.tensor(array, name=name)


class _Fitter:
    """Draws samples, and takes the steps that they show."""

    def __init__(
        self, solver: Solver, teacher: Trainable, outputs: int, count: int, kind: Kind, pool: Pool
    ) -> None:
        self._solver, self._teacher, self._outputs = solver, teacher, outputs
        self._count, self._kind, self._pool = count, kind, pool
        self._judges: list[Batch] = []

    @classmethod
    def of(
        cls, before: Program, after: Program, dataset: Dataset, kind: Kind, unlabelled: Dataset | None
    ) -> _Fitter | None:
        """None where torch cannot compute the networks, or only sample by sample."""
        fit, unseen = split.fit(dataset), split.test(dataset)
        taught = features.find(before, after, fit)
        outputs = Teacher.of(before)
        names = [*outputs.names, *(feature.name for feature in taught)]
        count = _count(before, fit)
        limit = count if unlabelled is None else count // 2
        own = stacked(split.some(fit, limit))
        sample = {n: a[0] for n, a in own.items()}
        teacher = as_module(before, names, sample)
        if teacher is None or [scores(after, spec.name) for spec in after.outputs] != outputs.names:
            return None
        few = {n: a[: _SAMPLES[0]] for n, a in own.items()}
        try:
            solver = Solver(after, names, aims.of(outputs.softmax, outputs(few), taught), sample)
        except (ModelError, NotImplementedError):
            # An operator without derivatives: blocks and layers stay as they are.
            return None
        if not solver.takes_batches:
            return None
        others = None if unlabelled is None else stacked(split.some(unlabelled, limit))
        found = cls(solver, teacher, len(outputs.softmax), count, kind, Pool.of(own, others))
        found._judge_by(stacked(split.some(unseen, count // _JUDGES)))
        return found

    def fit(self, advance: Callable[[], None]) -> Mapping[str, Array]:
        """Weights after some steps, as many as help; none where all of them help too little."""
        solver = self._solver
        start = error = solver.error(solver.weights, self._judges)
        effort, missed = Effort(_GRADIENTS, _DAMPING, has_bfloat16()), 0
        for index in range(_STEPS if start >= _NOTHING else 0):
            batches = self._batches(self._pool.inputs, self._drawn(index), [index])
            before, error = error, solver.move(
                solver.step(batches, batches[::2], effort), self._judges, error
            )  # fmt: skip
            advance()
            missed = missed + 1 if error == before else 0
            if missed > _MISSED:
                break
        return solver.arrays() if error <= (1 - _GAIN) * start else {}

    def _judge_by(self, unseen: Inputs) -> None:
        """Hold out samples, in views that stay the same."""
        samples = len(next(iter(unseen.values())))
        at = np.tile(np.arange(samples), self._views(samples))
        self._judges = self._batches(unseen, at, [0, 1], outputs=True)

    def _views(self, samples: int) -> int:
        """How often a sample is seen, where there are so many."""
        return 1 if self._kind == "none" else int(np.clip(self._count // samples, 1, _VIEWS))

    def _drawn(self, index: int) -> Array:
        """Positions of samples: own ones, some times over where views differ, and as many others."""
        random, pool = np.random.default_rng([index, 2]), self._pool
        own = np.tile(np.arange(pool.own), self._views(2 * pool.own if pool.others else pool.own))
        return random.permutation(np.concatenate([own, pool.drawn(random, len(own))]))

    def _batches(self, inputs: Inputs, at: Array, seed: list[int], *, outputs: bool = False) -> list[Batch]:
        torch, found = require_torch(), []
        size = self._solver.batch
        for start in range(0, len(at), size):
            chosen = at[start : start + size]
            pair = views.batch(inputs, chosen, self._kind, self._pool.scales, [*seed, start])
            seen, given = ({n: torch.from_numpy(a)[:, 0] for n, a in view.items()} for view in pair)

            answer = partial(self._answers, seen)
            found.append(Batch(given, partial(list, answer()[: self._outputs]) if outputs else answer))
        return found

    def _answers(self, seen: Mapping[str, Tensor]) -> list[Tensor]:
        """The original's, and what leads to them."""
        with require_torch().no_grad():
            return list(self._teacher.values(seen))


def _count(program: Program, fit: Dataset) -> int:
    """Samples of a step."""
    numbers = sum(array.size for array in next(iter(fit)).values())
    count = min(_WORK / max(1, effects.size(program).macs), _NUMBERS / max(1, numbers))
    return int(np.clip(count, *_SAMPLES))
