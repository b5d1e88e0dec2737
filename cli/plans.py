"""Plans and lists of cuts for people, on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecut.ir.annotations import Baseline, CutFigures, Plan


def show(plan: Plan) -> None:
    """Print the cuts of a plan, the chosen one first, and beneath them what not splitting would take."""
    from edgecut.cli.tables import console
    from edgecut.ir.printer import seconds

    out = console()
    rates = f"{plan.up_mbps:g}/{plan.down_mbps:g} Mbit/s"
    out.print(f"{plan.objective} on {plan.network}: {rates}, round trip {seconds(plan.rtt_s)}")
    table = _table("", "cut", "latency", "edge", "cloud", "upload", "best between")
    for i, figures in enumerate(plan.cuts):
        table.add_row("=>" if i == 0 else "", figures.cut.name, *_times(figures), _range(figures))
    table.add_section()
    for base in plan.baselines:
        table.add_row("", f"[dim]{base.name}[/]", *_baseline(base), base.reason)
    out.print(table)


def listing(cuts: list[CutFigures]) -> None:
    """Print all cuts with what they are predicted to take."""
    from edgecut.cli.tables import console

    table = _table("cut", "latency", "edge", "cloud", "upload")
    for figures in cuts:
        table.add_row(figures.cut.name, *_times(figures))
    console().print(table)


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


def _range(figures: CutFigures) -> str:
    if figures.max_mbps is None:
        return f"{figures.min_mbps:.3g} Mbit/s and up"
    return f"{figures.min_mbps:.3g} and {figures.max_mbps:.3g} Mbit/s" if figures.max_mbps else "fallback"


def _baseline(base: Baseline) -> list[str]:
    from edgecut.ir.printer import seconds, size

    upload = size(base.up_bytes) if base.up_bytes else ""
    return [seconds(base.latency_s), "", "", upload]
