"""Finds the figures that predictions use from what was measured: a non-negative least-squares fit.

Every kind of operator gets a fixed time and a time per multiply-accumulate, per byte, and per what else it
does (`Rates`). Errors count as factors, and far-off measurements count less, so that the median error is
small rather than the largest.
"""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np

from edgecut.ir.work import Work
from edgecut.targets.figures import LIKE, SPILL_BYTES
from edgecut.targets.spec import Compute, Efficiency, Error

# Kinds seen fewer times than this share the figures of ``default``.
LEAST = 5
# Relative errors beyond this count by their size, not by its square.
HUBER = 0.15
ROUNDS = 20
# A little weight against costs that samples alike cannot tell from others: the fixed one from one that grows,
# and that of weights, which networks of one family have in proportion to their work.
DOUBT_FIXED, DOUBT_WEIGHTS = 0.05, 1.0
# Operators below this part of their model are fitted, but their errors not counted: no cut depends on them.
LEAST_PART = 0.01
# Microseconds and the like below this are the solver's rounding.
LEAST_FIGURE = 1e-9
# An efficiency that stands for "costs nothing measurable".
FREE = 99.0
DEFAULT = "default"


@dataclass(frozen=True)
class Sample:
    """One measured stretch of a model."""

    model: str
    parts: tuple[Work, ...]
    """The operators in it."""
    seconds: float
    profile: str = ""
    """Which of the profiles of this model it is from: in which precision, say."""


@dataclass(frozen=True)
class Rates:
    """Seconds of one kind of operator: fixed, and per unit of each kind of work."""

    fixed: float
    per_mac: float
    per_byte: float
    per_loop: float = 0.0
    per_tap: float = 0.0
    per_weight_byte: float = 0.0
    per_output_byte: float = 0.0
    per_spilt_byte: float = 0.0

    def seconds(self, work: Work) -> float:
        """Time of one operator."""
        rates: tuple[float, ...] = astuple(self)
        return sum(rate * count for rate, count in zip(rates, _terms(work), strict=True))


def _terms(work: Work) -> tuple[int, ...]:
    """What each of the rates is multiplied with."""
    spilt = max(work.bytes - SPILL_BYTES, 0)
    # Other operators have constants, but none to speak of.
    weights = work.weight_bytes if work.macs else 0
    moved = weights, work.output_bytes, spilt
    return 1, work.macs, work.bytes, work.loops, work.taps, *moved


_NAMES = [field.name for field in fields(Rates)]
TERMS = len(_NAMES)


Table = dict[tuple[str, str], Rates]
"""By precision and kind; the kind ``default`` stands for those seen too seldom, if there are any."""


def rates(samples: Sequence[Sample]) -> Table:
    """Fit the rates of every kind, and of ``default`` for kinds that were seen too seldom."""
    keys = _keys(samples)
    found: Table = {}
    for some in _apart(samples, set(keys)):
        used = {_key(part, keys) for s in some for part in s.parts}
        index = {key: i for i, key in enumerate(k for k in keys if k in used)}
        rows = np.array([_row(s, index) for s in some])
        x = _solve(rows, np.array([s.seconds for s in some]))
        found.update({k: Rates(*map(float, x[TERMS * i : TERMS * (i + 1)])) for k, i in index.items()})
    return found


def predict(table: Table, parts: Iterable[Work]) -> float:
    """Seconds of operators that run one after the other."""
    return sum(_rates(table, part).seconds(part) for part in parts)


@dataclass(frozen=True)
class Held:
    """One stretch of a model that the rates it is predicted by were not fitted to."""

    sample: Sample
    predicted: float
    """Seconds."""
    counts: bool
    """Whether other models have its kinds of operators, and it takes a hundredth of its model at least."""


def held_out(samples: Sequence[Sample]) -> list[Held]:
    """Fit without one model, predict it, and so on for all.

    Raises:
        ValueError: There are fewer than two models.
    """
    models = sorted({s.model for s in samples})
    if len(models) < 2:
        raise ValueError("it takes profiles of at least two models to tell how well one predicts another")
    held: list[Held] = []
    for model in models:
        table = rates([s for s in samples if s.model != model])
        for profile in sorted({s.profile for s in samples if s.model == model}):
            one = [s for s in samples if (s.model, s.profile) == (model, profile)]
            least = LEAST_PART * sum(s.seconds for s in one)
            held += [Held(s, predict(table, s.parts), s.seconds >= least and _known(table, s)) for s in one]
    return held


def error(held: Sequence[Held], of: str) -> Error | None:
    """The error of predictions of models held out; None where none of them counts."""
    errors = [abs(h.predicted / h.sample.seconds - 1) for h in held if h.counts]
    if not errors:
        return None
    wholes: dict[tuple[str, str], list[float]] = {}
    for h in held:
        whole = wholes.setdefault((h.sample.model, h.sample.profile), [0.0, 0.0])
        whole[0] += h.predicted
        whole[1] += h.sample.seconds
    return Error(
        median=round(statistics.median(errors), 4),
        p90=round(float(np.quantile(errors, 0.9)), 4),
        whole_median=round(statistics.median(abs(p / s - 1) for p, s in wholes.values()), 4),
        samples=len(errors),
        of=of,
    )


def cross_validate(samples: Sequence[Sample], of: str) -> Error | None:
    """The error to expect of a model never seen; None where the models have no kind in common.

    Raises:
        ValueError: There are fewer than two models.
    """
    return error(held_out(samples), of)


def compute(base: Compute, table: Table, error: Error | None) -> Compute:
    """The figures of a device with its efficiencies replaced by those that were fitted, as far as they were.

    Args:
        base: Peaks and bandwidth, which efficiencies are fractions of, and efficiencies of other kinds.
        table: Fitted rates.
        error: What cross-validation found.
    """
    found: dict[str, dict[str, Efficiency]] = {}
    for (precision, kind), fitted in sorted(table.items()):
        found.setdefault(precision, {})[kind] = _efficiency(base, precision, fitted)
    merged = {p: {**base.efficiency.get(p, {}), **found.get(p, {})} for p in {**base.efficiency, **found}}
    return replace(base, efficiency=merged, call_us=0.0, error=error)


def peaks(table: Table) -> Compute:
    """Figures of a device of which no data sheet is at hand: the best that any kind of operator reached."""
    gmacs: dict[str, float] = {}
    for (precision, _), fitted in table.items():
        if fitted.per_mac > 0:
            gmacs[precision] = max(gmacs.get(precision, 0.0), _round(1e-9 / fitted.per_mac))
    gmacs.setdefault("float32", max(gmacs.values(), default=1.0))
    bandwidth = max((_round(1e-9 / r.per_byte) for r in table.values() if r.per_byte > 0), default=1.0)
    fixed = statistics.median(r.fixed for r in table.values())
    return Compute(dict(sorted(gmacs.items())), bandwidth, _round(fixed * 1e6))


def _efficiency(base: Compute, precision: str, found: Rates) -> Efficiency:
    peak = base.peak_gmacs.get(precision, base.peak_gmacs["float32"])
    return Efficiency(
        compute=_part(found.per_mac * peak * 1e9),
        memory=_part(found.per_byte * base.bandwidth_gbs * 1e9),
        op_us=_round(found.fixed * 1e6),
        loop_ns=_round(found.per_loop * 1e9),
        tap_ns=_round(found.per_tap * 1e9),
        weight_us_per_mb=_round(found.per_weight_byte * 1e12),
        output_us_per_mb=_round(found.per_output_byte * 1e12),
        spill_us_per_mb=_round(found.per_spilt_byte * 1e12),
    )


def _part(times_slower: float) -> float:
    return FREE if times_slower <= 1 / FREE else _round(1 / times_slower)


def _round(value: float) -> float:
    return float(f"{value:.4g}") if value > LEAST_FIGURE else 0.0


def _keys(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    count: dict[tuple[str, str], int] = {}
    for sample in samples:
        for key in {(p.precision, p.kind) for p in sample.parts}:
            count[key] = count.get(key, 0) + 1
    kept = {key for key, n in count.items() if n >= LEAST}
    rare = {(precision, DEFAULT) for precision, _ in count.keys() - kept}
    return sorted(kept | rare)


def _key(part: Work, keys: Container[tuple[str, str]]) -> tuple[str, str]:
    own = part.precision, part.kind
    return own if own in keys else (part.precision, DEFAULT)


def _apart(samples: Sequence[Sample], keys: Container[tuple[str, str]]) -> list[list[Sample]]:
    """Samples in sets that have no kind of operator in common: each is a problem of its own."""
    found: list[tuple[set[tuple[str, str]], list[Sample]]] = []
    for sample in samples:
        used = {_key(part, keys) for part in sample.parts}
        joined = [one for one in found if one[0] & used]
        found = [one for one in found if not one[0] & used]
        found.append(
            (used.union(*(k for k, _ in joined)), [*(s for _, some in joined for s in some), sample])
        )
    return [some for _, some in found]


def _row(sample: Sample, index: dict[tuple[str, str], int]) -> list[float]:
    row = [0.0] * (TERMS * len(index))
    for part in sample.parts:
        at = TERMS * index[_key(part, index)]
        for i, count in enumerate(_terms(part)):
            row[at + i] += count
    return row


def _known(table: Table, sample: Sample) -> bool:
    return all((p.precision, p.kind) in table for p in sample.parts)


def _rates(table: Table, work: Work) -> Rates:
    """The rates of a kind; where it was not seen, of one like it, of the default, or of the middling kind."""
    for kind in (work.kind, LIKE.get(work.kind, DEFAULT), DEFAULT):
        key = work.precision, kind
        if key in table:
            return table[key]
    same = [r for (precision, _), r in table.items() if precision == work.precision]
    return _middling(same or list(table.values()))


def _solve(rows: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Non-negative least squares, reweighted until the errors are those of the logarithm.

    Relative to the measured time alone, predicting nothing would never miss by more than 100 %, and rows that
    are hard to fit would be given up that way. Far-off rows count linearly (Huber). Where reweighting ends
    depends on where it begins: it begins relative to the times, from the times as they are, and between, and
    of all steps the one with the least loss counts.
    """
    steps = [x for power in (1.0, 0.5, 0.0) for x in _reweighted(rows, seconds, 1 / seconds**power)]
    return min(steps, key=lambda x: _loss(_error(rows @ x, seconds)))


def _reweighted(rows: np.ndarray, seconds: np.ndarray, weights: np.ndarray) -> Iterator[np.ndarray]:
    """Solve and weigh anew by what was found, in turn, beginning with these weights."""
    from scipy.optimize import nnls

    size = (rows / seconds[:, None]).max(axis=0)
    size[size == 0] = 1.0
    doubts = [0.0] * TERMS
    doubts[_NAMES.index("fixed")], doubts[_NAMES.index("per_weight_byte")] = DOUBT_FIXED, DOUBT_WEIGHTS
    doubt = np.diag(np.tile(doubts, rows.shape[1] // TERMS))
    nothing = np.zeros(rows.shape[1])
    weights = weights / (weights * seconds).mean()
    for _ in range(ROUNDS):
        known = rows / size * weights[:, None]
        x = nnls(np.vstack([known, doubt]), np.concatenate([seconds * weights, nothing]))[0] / size
        yield x
        predicted = np.maximum(rows @ x, LEAST_PART * seconds)
        error = _error(predicted, seconds)
        # The weight with which the slope of the square is that of the loss of the logarithm.
        slope = np.clip(error, -HUBER, HUBER) / predicted
        apart = predicted - seconds
        near = np.abs(apart) < 1e-9 * seconds
        weights = np.sqrt(np.where(near, 1 / seconds**2, slope / np.where(near, 1.0, apart)))


def _error(predicted: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The logarithm of predicted over measured, as if no prediction were below a hundredth."""
    found: np.ndarray = np.log(np.maximum(predicted, LEAST_PART * seconds) / seconds)
    return found


def _loss(error: np.ndarray) -> float:
    size = np.abs(error)
    return float(np.where(size < HUBER, size**2, HUBER * (2 * size - HUBER)).sum())


def _middling(found: Sequence[Rates]) -> Rates:
    return Rates(*map(statistics.median, zip(*map(astuple, found), strict=True)))
