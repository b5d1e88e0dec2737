"""Plans, and what may be asked about them, on stdout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecut.ir.annotations import Baseline, CutFigures
    from edgecut.ir.program import Program
    from edgecut.passes.partition.picture import Picture
    from edgecut.passes.partition.planning import Posed, Request
    from edgecut.passes.partition.together import Judge


@dataclass(frozen=True)
class Asked:
    """What the user wants to see."""

    item: Any
    """The partition pass with the user's options."""
    as_json: bool
    plot: Path | None
    """Where to draw it, too."""
    objectives: tuple[str, ...]
    """Of the Pareto front."""


def plan(program: Program, *, as_json: bool) -> None:
    """Print the cuts of a plan, the chosen one first, and beneath them what not splitting would take."""
    from edgecut.ir import annotations
    from edgecut.ir.annotations import Plan, Router
    from edgecut.ir.printer import bandwidth_range, seconds
    from edgecut.passes.manifest import record

    made = annotations.require(program.model, Plan, "run the partition pass")
    if as_json:
        _json(made)
        return
    rates = f"{made.up_mbps:g}/{made.down_mbps:g} Mbit/s"
    _print(f"{made.objective} on {made.network}: {rates}, round trip {seconds(made.rtt_s)}")
    table = _table("", "cut", "latency", "edge", "cloud", "upload", "best between")
    for i, figures in enumerate(made.cuts):
        best = bandwidth_range(figures.min_mbps, figures.max_mbps)
        table.add_row("=>" if i == 0 else "", figures.cut.name, *_times(figures), best)
    table.add_row("", "[dim]without splitting[/]")
    for base in made.baselines:
        table.add_row("", base.name, *_baseline(base), base.reason)
    _print(table)
    if made.chosen.measured:
        _print(f"measured of the halves themselves: {' and '.join(made.chosen.measured)}")
    for figures in made.cuts:
        if figures.together is not None:
            _print(f"{figures.cut.name}: {figures.together.describe()}")
    rule = annotations.get(program.model, Router)
    if rule is not None:
        _print(f"{rule.cut}: {record.router(rule).describe()}")


def list_cuts(program: Program, asked: Asked) -> None:
    """Print all legal cuts with what they are predicted to take."""
    from edgecut.cli import session
    from edgecut.passes.partition import listing

    cuts, complete = listing.figures(program, asked.item)
    if not complete:
        session.warn(f"more than {listing.LIMIT} cuts: only those where one tensor crosses are listed")
    if asked.as_json:
        _json(cuts)
        return
    table = _table("cut", "latency", "edge", "cloud", "upload")
    for figures in cuts:
        table.add_row(figures.cut.name, *_times(figures))
    _print(table)


def explain(program: Program, asked: Asked) -> None:
    """Print why the best cut is the best, what comes next, and what would move it."""
    from edgecut.passes.partition import explain_text
    from edgecut.passes.partition.explain import explain as find

    found = find(*_posed(program, asked))
    if asked.as_json:
        _json(found)
    else:
        print(explain_text.text(found))


def sweep(program: Program, asked: Asked) -> None:
    """Draw the optimum over bandwidth and round trip."""
    from edgecut.passes.partition import sweep_picture, sweep_text
    from edgecut.passes.partition.sweep import sweep as find

    drawn = find(*_posed(program, asked)[:2])
    _draw(asked.plot, sweep_picture.picture(drawn))
    if asked.as_json:
        _json(drawn)
    else:
        print(sweep_text.text(drawn))


def pareto(program: Program, asked: Asked) -> None:
    """Print the Pareto front."""
    from edgecut.passes.partition import pareto_picture
    from edgecut.passes.partition.mixed import shown
    from edgecut.passes.partition.pareto import front

    found = front(*_posed(program, asked)[:2], asked.objectives)
    _draw(asked.plot, pareto_picture.picture(found))
    if asked.as_json:
        _json(found)
        return
    table = _table("cut", *found.objectives)
    for point in found.points:
        prices = [shown(p, unit) for p, unit in zip(point.prices, found.units, strict=True)]
        table.add_row(point.cut.name, *prices)
    _print(table)


LOOKS: dict[str, Callable[[Program, Asked], None]] = {
    "list-cuts": list_cuts,
    "explain": explain,
    "sweep": sweep,
    "pareto": pareto,
}
"""What may be asked instead of a plan, by the name of its option."""


def _posed(program: Program, asked: Asked) -> tuple[Posed, Request, Judge | None]:
    """The problem, what is asked of it, and what measures its encodings."""
    from edgecut.cli import session
    from edgecut.passes.partition import planning

    posed = planning.pose(program, asked.item.request(program))
    return posed, *asked.item.settled(posed, session.warn)


def _json(value: Any) -> None:
    from edgecut.ir import typed

    print(typed.dumps(value, indent=2))


def _draw(path: Path | None, drawn: Picture) -> None:
    from edgecut.passes.partition import picture

    if path is not None:
        picture.write(drawn, path)


def _print(what: Any) -> None:
    from edgecut.cli.tables import console

    console().print(what)


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in ("", "cut", "best between") else "right")
    return table


def _times(figures: CutFigures) -> list[str]:
    from edgecut.ir.printer import seconds, size

    times = [seconds(figures.latency_s), seconds(figures.edge_s), seconds(figures.cloud_s)]
    return [*times, size(figures.up_bytes)]


def _baseline(base: Baseline) -> list[str]:
    from edgecut.ir.printer import seconds, size

    upload = size(base.up_bytes) if base.up_bytes else ""
    return [seconds(base.latency_s), "", "", upload]
