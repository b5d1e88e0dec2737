"""Tables for people, on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from edgecut.ir.manifest import Manifest
    from edgecut.ir.program import Program


def console() -> Console:
    """Stdout: as wide as the terminal, or 120 columns where there is none."""
    import sys

    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def build(made: Manifest, folder: Path) -> None:
    """Print what a build holds: its cuts, and what not splitting would take."""
    from rich.markup import escape
    from rich.table import Table

    from edgecut.ir.printer import bandwidth_range, seconds, size

    out = console()
    network = made.network
    out.print(
        f"[bold]{escape(made.model)}[/]  edge {made.edge.name} ({made.edge.costs}), cloud {made.cloud.name} "
        f"({made.cloud.costs}), quantization {made.quantization}"
    )
    out.print(
        f"{network.name}: {network.up_mbps:g} Mbit/s up, {network.down_mbps:g} Mbit/s down, "
        f"round trip {seconds(network.rtt_s)}\n"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("", "left"), ("cut", "left"), ("latency", "right"), ("edge", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in ("cloud", "upload", "best between"):
        table.add_column(name, justify="right")
    for i, cut in enumerate(made.cuts):
        mark = "=>" if i == 0 else ""
        figures = (seconds(cut.latency_s), seconds(cut.edge_s), seconds(cut.cloud_s), size(cut.up_bytes))
        table.add_row(mark, escape(cut.name), *figures, bandwidth_range(cut.min_mbps, cut.max_mbps))
    table.add_row("", "[dim]without splitting:[/]")
    for base in made.baselines:
        latency = seconds(base.latency_s) if base.latency_s is not None else "-"
        upload = size(base.up_bytes) if base.up_bytes else ""
        table.add_row("", f"[dim]{escape(base.name)}[/]", latency, "", "", upload, base.reason)
    out.print(table)
    if made.cuts[0].measured:
        out.print(f"measured of the halves themselves: {' and '.join(made.cuts[0].measured)}")
    for cut in made.cuts:
        if cut.together is not None:
            out.print(f"{escape(cut.name)}: {cut.together.describe()}")
    if made.router is not None:
        out.print(f"{made.router.cut}: {made.router.describe()}")
    total = sum({f.sha256: f.bytes for f in made.files}.values())  # weights have a link per model
    out.print(f"{folder}/: {len(made.files)} files, {size(total)}")


def lowering(program: Program, *, as_json: bool) -> None:
    """Print which fusion groups the edge can run, and why not the others."""
    from rich.markup import escape
    from rich.table import Table

    from edgecut.ir import typed
    from edgecut.passes.emit.explain import explain, tensorrt_problems, tensorrt_version

    groups = explain(program)
    if as_json:
        print(typed.dumps(groups, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("node", "operators", "edge"):
        table.add_column(name, overflow="fold")
    for group in groups:
        verdict = f"[yellow]no: {escape(group.cloud_only)}[/]" if group.cloud_only else "yes"
        table.add_row(escape(group.nodes[-1]), "+".join(group.operators), verdict)
    refused = sum(group.cloud_only is not None for group in groups)
    console().print(table)
    console().print(f"{len(groups) - refused} of {len(groups)} groups can run on the edge")
    problems = tensorrt_problems(program)
    verdict = f"would refuse {len(problems)} nodes:" if problems else "would take every node"
    console().print(f"TensorRT {tensorrt_version()}, by its published table, {verdict}")
    for problem in problems:
        console().print(f"  {escape(problem)}")


def metrics(program: Program, name: str, *, as_json: bool) -> str:
    """What a pass reported, as text."""
    from edgecut.ir import typed
    from edgecut.ir.program import history

    last = next((s for s in reversed(history(program).steps) if s.text.split("{")[0] == name), None)
    figures = last.metrics if last else {}
    if as_json:
        return typed.dumps(figures, indent=2)
    width = max((len(k) for k in figures), default=0)
    shown = {k: f"{v:.6g}" if isinstance(v, float) else str(v) for k, v in figures.items()}
    return "\n".join(f"{k.ljust(width)}  {v}" for k, v in shown.items())
