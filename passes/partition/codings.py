"""Ways to send the tensors that cross, read off a program, and what they may damage."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from edgecut.ir import annotations
from edgecut.ir.annotations import Encoding, Encodings, Sensitivity
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program, history
from edgecut.passes.partition.mixed import Budget
from edgecut.passes.partition.problem import Codings, Floats, Mask, Problem
from edgecut.passes.partition.quantities import Damage
from edgecut.passes.partition.reader import Members

NONE, AUTO = "none", "auto"
MOST = 256
"""So many combinations of encodings are looked at for one placement."""

DISAGREEMENT = Damage("agreement", "disagreement", "%")
ACCURACY = Damage("accuracy", "accuracy drop", "points")
NOISE = Damage("sqnr", "noise", "dB")
"""Shares of other answers add up to a bound of the whole's, points of accuracy likewise by rule of thumb,
and powers of noise because the errors are small and independent."""

_OF_CODING: dict[str, Callable[[Encoding, Encoding], float | None]] = {
    "agreement": lambda e, held: None if e.agreement is None else 1 - e.agreement,
    "accuracy": lambda e, held: None if e.accuracy is None or held.accuracy is None
    else max(100 * (held.accuracy - e.accuracy), 0.0),
    "sqnr": lambda e, held: 10 ** (-e.sqnr_db / 10),
}  # fmt: skip
_OF_NODE: dict[str, Callable[[Sensitivity], float]] = {
    "agreement": lambda s: 0.0 if s.agreement is None else 1 - s.agreement,
    "sqnr": lambda s: 10 ** (-s.output_sqnr_db / 10),
}


def budgets(
    min_agreement: float | None, max_accuracy_drop: float | None, min_sqnr: float | None
) -> tuple[Budget, ...]:
    """The error budgets that are given."""
    found = []
    if min_agreement is not None:
        found.append(Budget(DISAGREEMENT, 1 - min_agreement))
    if max_accuracy_drop is not None:
        found.append(Budget(ACCURACY, max_accuracy_drop))
    if min_sqnr is not None:
        found.append(Budget(NOISE, 10 ** (-min_sqnr / 10)))
    return tuple(found)


def read(
    program: Program, problem: Problem, members: Members, boundary: str, limits: tuple[Budget, ...]
) -> Problem:
    """A problem with what its tensors may be sent as, and with what its groups damage.

    Args:
        program: The graph, with `Encodings` of its values and `Sensitivity` of its nodes.
        problem: What was read off it.
        members: Nodes of its groups.
        boundary: ``none``, ``auto``, or the one encoding to use wherever there is one.
        limits: Budgets; encodings whose damage is not known are left out where one limits it.

    Raises:
        UsageError: No tensor has an encoding, or none has the one that is wanted.
    """
    kinds = [b.quantity.kind for b in limits if isinstance(b.quantity, Damage)]
    damage = {kind: _of_groups(program, problem, members, kind) for kind in kinds if kind in _OF_NODE}
    problem = replace(problem, damage={k: (d, d) for k, d in damage.items()})
    if boundary == NONE:
        return problem
    entries = list(_entries(program, problem, boundary, kinds))
    if not entries:
        what = "no tensor that may cross has encodings" if boundary == AUTO else f"no tensor has {boundary!r}"
        raise UsageError(what, where="partition{boundary}", hint="the pass boundary measures them")
    found = Codings(
        tensor=np.array([t for t, _, _ in entries], np.int64),
        names=tuple(e.name for _, e, _ in entries),
        size=np.array([e.mean_bytes for _, e, _ in entries], np.int64),
        encode_s=np.array([e.encode_s for _, e, _ in entries], float),
        decode_s=np.array([e.decode_s for _, e, _ in entries], float),
        damage={kind: np.array([d[kind] for _, _, d in entries], float) for kind in kinds},
        only=boundary != AUTO,
    )
    return replace(problem, codings=found)


def every(problem: Problem, sides: Mask) -> Iterator[Mask]:
    """All placements with these sides: each crossing tensor in each way that it may be sent.

    Where there are over `MOST`, only that as they are held is given.
    """
    codings, none = problem.codings, np.zeros(len(problem.codings.names), bool)
    crossing = np.flatnonzero(problem.crossing(sides)).tolist()
    ways = []
    for tensor in crossing:
        own = np.flatnonzero(codings.tensor == tensor).tolist()
        ways.append(own if codings.only and own else [-1, *own])
    if np.prod([float(len(w)) for w in ways]) > MOST:
        ways = [w[:1] for w in ways]
    for chosen in itertools.product(*ways):
        used = none.copy()
        used[[k for k in chosen if k >= 0]] = True
        yield problem.joined(sides, used)


def named(problem: Problem, sides: Mask, encodings: str, where: str) -> Mask:
    """The placement with these sides whose tensors are sent in encodings joined by ``+``.

    Raises:
        UsageError: There is none.
    """
    for placement in every(replace(problem, codings=replace(problem.codings, only=False)), sides):
        used = np.flatnonzero(problem.coded(placement))
        if sorted(problem.codings.names[k] for k in used) == sorted(encodings.split("+")):
            return placement
    have = sorted(set(problem.codings.names))
    raise UsageError(f"cannot be sent as {encodings}", where=where, hint=f"there are: {', '.join(have)}")


def _entries(
    program: Program, problem: Problem, boundary: str, kinds: list[str]
) -> Iterator[tuple[int, Encoding, dict[str, float]]]:
    values = program.values()
    for tensor, name in enumerate(problem.tensors):
        found = annotations.get(values[name], Encodings)
        if found is None:
            continue
        ways = [(e, _damages(e, found.table[0], kinds)) for e in found.table[1:]]
        known = [(e, d) for e, d in ways if d is not None and boundary in (AUTO, e.name)]
        yield from ((tensor, e, d) for e, d in known if not _is_beaten(e, d, known))


def _damages(encoding: Encoding, held: Encoding, kinds: list[str]) -> dict[str, float] | None:
    found = {kind: _OF_CODING[kind](encoding, held) for kind in kinds}
    known = {kind: value for kind, value in found.items() if value is not None}
    return known if len(known) == len(found) else None


def _is_beaten(
    encoding: Encoding, damage: dict[str, float], others: list[tuple[Encoding, dict[str, float]]]
) -> bool:
    """Whether another encoding is as good in every respect, and better in one or named before it."""
    own = (encoding.mean_bytes, encoding.encode_s, encoding.decode_s, *damage.values())
    for other, theirs in others:
        figures = (other.mean_bytes, other.encode_s, other.decode_s, *theirs.values())
        as_good = all(a <= b for a, b in zip(figures, own, strict=True))
        if other is not encoding and as_good and (figures != own or other.name < encoding.name):
            return True
    return False


def _of_groups(program: Program, problem: Problem, members: Members, kind: str) -> Floats:
    """What each group damages: by its kernels, which share what was measured of the whole model."""
    found = np.zeros(len(problem.groups))
    for i, group in enumerate(problem.groups):
        known = [annotations.get(node, Sensitivity) for node in members[group]]
        found[i] = sum(_OF_NODE[kind](record) for record in known if record is not None and record.integer)
    whole, total = _of_whole(program, kind), float(found.sum())
    return found if whole is None or total == 0 else found * (whole / total)


def _of_whole(program: Program, kind: str) -> float | None:
    """What the pass quantize measured of the whole model."""
    steps = [step for step in history(program).steps if step.text.split("{")[0] == "quantize"]
    figures = steps[-1].metrics if steps else {}
    share, sqnr_db = figures.get("agreement"), figures.get("sqnr_db")
    if kind == "agreement" and isinstance(share, (int, float)):
        return 1 - share
    return 10 ** (-sqnr_db / 10) if kind == "sqnr" and isinstance(sqnr_db, (int, float)) else None
