"""What the encodings of a cut do together, measured; and budgets that rule out those which do too much.

Tables hold what each encoding damages while all else is exact, and a plan adds these up. That is a rule of
thumb: two small errors may make a large one. So each cut of a plan is run on samples that no coder was fitted
to. Where it breaks an error budget, its encodings are ruled out together, and with them all combinations of
encodings of the same tensors that are each as coarse or coarser; and the plan is made again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecut.frontends import data as inputs
from edgecut.ir import annotations, coded, extract
from edgecut.ir.annotations import Cut, Divided, Encodings, Together
from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program
from edgecut.passes.numerics import Difference, Runner, Sample
from edgecut.passes.partition.envelope import Band
from edgecut.passes.partition.mixed import Budget, shown
from edgecut.passes.partition.planning import Posed, Request
from edgecut.passes.partition.problem import Mask, Problem
from edgecut.passes.partition.quantities import Chosen, Damage

SAMPLES = 32
"""Of data that the pass boundary has not seen, so many are used."""
ROUNDS = 10
"""So often a plan is made again; then it does without encodings."""

OF_KIND: dict[str, Callable[[Together], float | None]] = {
    "agreement": lambda t: None if t.agreement is None else 1 - t.agreement,
    "accuracy": lambda t: None if t.accuracy is None or t.accuracy_held is None
    else max(100 * (t.accuracy_held - t.accuracy), 0.0),
    "sqnr": lambda t: 10 ** (-t.sqnr_db / 10),
}  # fmt: skip
"""Damage by the kind of error budget, in its unit."""


@dataclass
class Judge:
    """Measures cuts on samples, each once."""

    posed: Posed
    samples: Sequence[Sample]
    labels: Sequence[int] | None
    known: dict[bytes, Together] = field(default_factory=dict)
    """By the bytes of the placement."""

    def of(self, placement: Mask) -> Together:
        """What the encodings of a placement do together.

        Raises:
            ModelError: ONNX Runtime cannot run a half.
        """
        key = placement.tobytes()
        if key not in self.known:
            cut = self.posed.cut(placement)
            self.known[key] = measure(self.posed.program, cut, self.samples, self.labels)
        return self.known[key]


def judge(posed: Posed, path: Path) -> Judge:
    """A judge with those samples of the data that no coder was fitted to.

    Of data that are others than those of the pass boundary all count, up to `SAMPLES`.

    Raises:
        ModelError: The data do not fit the model.
    """
    found = inputs.load(path, posed.program.inputs)
    divided = annotations.get(posed.program.model, Divided)
    if divided is not None and divided.total == len(found):
        chosen = list(divided.report)
    else:
        chosen = np.linspace(0, len(found) - 1, min(SAMPLES, len(found))).astype(int).tolist()
    wanted = set(chosen)
    samples = [sample for i, sample in enumerate(found) if i in wanted]
    labels = None if found.labels is None else [int(found.labels[i]) for i in sorted(wanted)]
    return Judge(posed, samples, labels)


def measure(
    program: Program, cut: Cut, samples: Sequence[Sample], labels: Sequence[int] | None = None
) -> Together:
    """Run both halves of a cut with its encodings between them, and compare with the program without.

    Args:
        program: The program, with coders for the encodings.
        cut: A cut in which something crosses.
        samples: Inputs.
        labels: Their classes.

    Raises:
        ModelError: A value has no coder, or ONNX Runtime cannot run a half.
    """
    _, cloud = extract.split(program, cut)
    assert cloud is not None, "what crosses is read"
    made = cloud.copy()
    coded.send(made, coded.of_cut(program, cut))
    # Of a graph input that crosses there is nothing to compute.
    inner = [name for name in cut.crossing if name not in {spec.name for spec in program.inputs}]
    edge, exact, sent = Runner(program, inner), Runner(cloud), Runner(made)
    difference = Difference()
    for i, sample in enumerate(samples):
        values = {**sample, **edge(sample)}
        feed = {name: values[name] for name in cut.crossing}
        difference.add(exact(feed), sent(feed), None if labels is None else labels[i])
    before, after = difference.accuracy or (None, None)
    return Together(difference.samples, difference.sqnr_db, difference.agreement, after, before)


def settled(
    request: Request,
    judged: Judge | None,
    offer: Callable[[Request], list[Band]],
    warn: Callable[[str], None],
) -> Request:
    """The request with whatever has to be ruled out for all cuts of its plan to keep to the error budgets.

    Args:
        request: What is wanted.
        judged: Measures cuts; None where there is no data for it.
        offer: The placements of a plan.
        warn: Told where encodings had to be given up.

    Raises:
        ConstraintError: No cut is left.
    """
    if judged is None or (request.best_effort and (request.forced or request.features)):
        return request
    for _ in range(ROUNDS):
        broken = [found for band in offer(request) if (found := _broken(request, judged, band.cloud))]
        if not broken:
            return request
        request = replace(request, budgets=(*request.budgets, *(item.instead for item in broken)))
        try:
            offer(request)
        except ConstraintError as error:
            raise ConstraintError(broken[0].sentence, hint="relax it, or choose another cut") from error
    warn(f"after {ROUNDS} plans encodings still did more together than the error budget allows: none is used")
    every = Chosen(tuple(range(len(judged.posed.problem.codings.names))), "any")
    return replace(request, budgets=(*request.budgets, Budget(every, 0.0)))


def told(posed: Posed, judged: Judge | None, placement: Mask) -> Together | None:
    """What the encodings of a placement do together, where that is known; None where it uses none."""
    problem = posed.problem
    used = np.flatnonzero(problem.coded(placement))
    if not len(used):
        return None
    if judged is not None:
        return judged.of(placement)
    crossing = np.flatnonzero(problem.crossing(placement))
    if len(crossing) > 1:
        return None
    name = problem.tensors[crossing[0]]
    known = annotations.require(posed.program.value(name), Encodings, "run the pass boundary")
    row = next(e for e in known.table if e.name == problem.codings.names[used[0]])
    return Together(known.samples, row.sqnr_db, row.agreement, row.accuracy, known.table[0].accuracy)


@dataclass(frozen=True)
class _Broken:
    """An error budget that a cut's encodings break together."""

    sentence: str
    instead: Budget
    """Rules them out."""


def _broken(request: Request, judged: Judge, placement: Mask) -> _Broken | None:
    problem = judged.posed.problem
    used = np.flatnonzero(problem.coded(placement))
    if not len(used):
        return None
    found, cut = judged.of(placement), judged.posed.cut(placement).name
    for budget in request.budgets:
        quantity = budget.quantity
        if not isinstance(quantity, Damage):
            continue
        kernels = quantity.value(problem, problem.sides(placement))
        total = kernels + (OF_KIND[quantity.kind](found) or 0.0)
        if budget.allows(total):
            continue
        does, limit = shown(total, quantity.unit), shown(budget.limit, quantity.unit)
        what = f"{cut}: its encodings together do {does} of {quantity.name}; the budget is {limit}"
        rivals = Chosen(_as_coarse(problem, used, quantity.kind), cut)
        return _Broken(what, Budget(rivals, len(used) - 1.0))
    return None


def _as_coarse(problem: Problem, used: NDArray[np.intp], kind: str) -> tuple[int, ...]:
    """These codings, and those of the same tensors that damage as much or more."""
    tensor, damage = problem.codings.tensor, problem.codings.damage[kind]
    rivals = [np.flatnonzero((tensor == tensor[k]) & (damage >= damage[k])) for k in used]
    return tuple(np.concatenate(rivals).tolist())
