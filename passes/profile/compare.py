"""Two profiles side by side: two targets, or two precisions, or two runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecut.passes.profile.report import Report, Side

# A difference below this is no finding, whatever the spreads say.
LEAST_PART = 0.02


@dataclass(frozen=True)
class Column:
    """One side of one profile."""

    label: str
    report: Report
    side: Side


@dataclass(frozen=True)
class Line:
    """One row: a group where both profiles have the same groups, else a kind of operator, or the whole."""

    name: str
    first_s: float | None
    second_s: float | None

    @property
    def ratio(self) -> float | None:
        """How many times as long the second takes."""
        return self.second_s / self.first_s if self.first_s and self.second_s is not None else None


@dataclass(frozen=True)
class Comparison:
    """All rows, and whether the wholes differ by more than their spreads."""

    first: str
    second: str
    lines: tuple[Line, ...]
    kinds: tuple[Line, ...]
    whole: Line
    differs: bool


def compare(first: Column, second: Column) -> Comparison:
    """Put two columns side by side."""
    mine, other = _groups(first), _groups(second)
    same = list(mine) == list(other)
    lines = tuple(Line(name, mine[name], other[name]) for name in mine) if same else ()
    kinds_mine, kinds_other = first.report.by_kind(first.side), second.report.by_kind(second.side)
    names = list(dict.fromkeys((*kinds_mine, *kinds_other)))
    kinds = tuple(Line(n, kinds_mine.get(n), kinds_other.get(n)) for n in names)
    whole = Line("whole model", _total(first), _total(second))
    return Comparison(first.label, second.label, lines, kinds, whole, _differs(first, second))


def advice(floating: Column, quantized: Column) -> list[str]:
    """What quantization does not pay for on a target: the whole, or kinds of operators that got slower."""
    found = compare(floating, quantized)
    ratio = found.whole.ratio
    slower = [k.name for k in found.kinds if k.ratio is not None and k.ratio > 1 + LEAST_PART]
    grown = [k.name for k in found.kinds if k.first_s is None and k.second_s]
    texts = []
    if ratio is not None and ratio >= 1:
        texts.append(f"quantization does not pay here: int8 takes {ratio:.2f} times as long as float")
    if slower:
        texts.append(f"slower in int8: {', '.join(slower)}")
    if grown:
        texts.append(f"only in int8: {', '.join(grown)}")
    return texts


def columns(reports: Sequence[Report], side: Side) -> tuple[Column, Column]:
    """The same side of two profiles; labels tell targets, or else the reports, apart."""
    first, second = reports
    names = [r.edge if side == "edge" else r.cloud for r in (first, second)]
    if names[0] == names[1]:
        names = [f"{names[0]} (1)", f"{names[1]} (2)"]
    return Column(names[0], first, side), Column(names[1], second, side)


def _groups(column: Column) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for row in column.report.rows:
        time = row.time(column.side)
        found[row.group] = time.seconds if time is not None else None
    return found


def _total(column: Column) -> float | None:
    total = column.report.edge_total if column.side == "edge" else column.report.cloud_total
    return total.seconds if total is not None else None


def _differs(first: Column, second: Column) -> bool:
    """Whether the wholes are further apart than both spreads together."""
    totals = [c.report.edge_total if c.side == "edge" else c.report.cloud_total for c in (first, second)]
    a, b = totals
    if a is None or b is None:
        return True
    apart = abs(a.seconds - b.seconds)
    return apart > a.seconds * max(a.spread, LEAST_PART) + b.seconds * max(b.spread, LEAST_PART)
