"""A profiled program as data: what ``edgecut profile`` prints, compares, and fits figures to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgecut.ir import annotations as notes
from edgecut.ir import typed, work
from edgecut.ir.annotations import CloudOnly, Conditions, Cost, Group, Profile, Source, Time
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program
from edgecut.ir.work import Kind, Precision, Work

SCHEMA = 1
Side = Literal["edge", "cloud"]


@dataclass(frozen=True)
class Row:
    """One fusion group."""

    group: str
    """Name of its last node."""
    operators: tuple[str, ...]
    kind: Kind
    precision: Precision
    macs: int
    bytes: int
    weight_bytes: int
    output_bytes: int = 0
    loops: int = 0
    taps: int = 0
    edge: Time | None = None
    cloud: Time | None = None
    reason: str | None = None
    """Why the edge cannot run it."""

    @property
    def work(self) -> Work:
        """What the group does."""
        counts = (self.macs, self.bytes, self.weight_bytes, self.output_bytes, self.loops, self.taps)
        return Work(self.kind, self.precision, *counts)

    def time(self, side: Side) -> Time | None:
        """Time on one side."""
        return self.edge if side == "edge" else self.cloud


@dataclass(frozen=True)
class Report:
    """A profile of one model on two targets."""

    schema: int
    model: str
    edge: str
    cloud: str
    rows: tuple[Row, ...]
    edge_total: Time | None = None
    cloud_total: Time | None = None
    edge_conditions: Conditions | None = None
    cloud_conditions: Conditions | None = None

    def sum(self, side: Side) -> float:
        """Seconds of all groups that can run on a side."""
        return sum(time.seconds for row in self.rows if (time := row.time(side)) is not None)

    def by_kind(self, side: Side) -> dict[str, float]:
        """Seconds per kind of operator, the largest first."""
        found: dict[str, float] = {}
        for row in self.rows:
            time = row.time(side)
            found[row.kind] = found.get(row.kind, 0.0) + (time.seconds if time else 0.0)
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def of(program: Program) -> Report:
    """Read the report off a profiled program.

    Raises:
        ModelError: It is not profiled.
    """
    profile = notes.require(program.model, Profile, "run the profile pass first")
    members: dict[str, list[Any]] = {}
    for node in program.nodes:
        group = notes.get(node, Group)
        if group is not None:
            members.setdefault(group.id, []).append(node)
    return Report(
        SCHEMA,
        _name(program),
        profile.edge,
        profile.cloud,
        tuple(_row(i, nodes) for i, nodes in members.items()),
        profile.edge_total,
        profile.cloud_total,
        profile.edge_conditions,
        profile.cloud_conditions,
    )


def read(path: Path) -> Report:
    """Read a report that ``edgecut profile --json`` wrote.

    Raises:
        ModelError: There is no such file, or it is none.
    """
    if not path.is_file():
        raise ModelError("no such file", where=str(path), hint="edgecut profile --json writes one")
    try:
        report: Report = typed.decode(Report, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"is no profile: {error}", where=str(path)) from error
    return report


def _name(program: Program) -> str:
    """The user's file, which tells models apart better than what exporters call their graphs."""
    source = notes.get(program.model, Source)
    return Path(source.file).stem if source is not None else program.graph.name or "model"


def _row(group: str, nodes: list[Any]) -> Row:
    does = work.group(nodes)
    last = nodes[-1]
    cost = notes.get(last, Cost) or Cost()
    reason = notes.get(last, CloudOnly)
    return Row(
        group,
        tuple(n.op_type for n in nodes),
        does.kind,
        does.precision,
        does.macs,
        does.bytes,
        does.weight_bytes,
        does.output_bytes,
        does.loops,
        does.taps,
        cost.edge,
        cost.cloud,
        reason.reason if reason else None,
    )
