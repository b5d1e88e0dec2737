"""``edgecut partition``: decide what runs where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgecut.cli.options import Depfile, Json


def partition(
    model: Annotated[Path, typer.Argument(help="A profiled IR file.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="IR file to write (.onnx).")
    ] = None,
    network: Annotated[str, typer.Option(metavar="NAME", help="Network: a name, or a .toml file.")] = "wifi",
    objective: Annotated[
        str, typer.Option(metavar="NAME", help="latency, energy, cost, throughput, or weighted.")
    ] = "latency",
    weights: Annotated[
        str | None, typer.Option(metavar="NAME=W,..", help="Such as latency=1,energy=0.5 (per s and J).")
    ] = None,
    cut: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Take this cut: its crossing tensors joined by '+'."),
    ] = None,
    mode: Annotated[
        str, typer.Option(metavar="best|features", help="The best cut, or the one before the head.")
    ] = "best",
    head: Annotated[
        str | None, typer.Option(metavar="NODE", help="Begins the head; else: after the last spatial tensor.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Build and time the cuts, and plan with what they took.")
    ] = False,
    runs: Annotated[int, typer.Option(help="With --measure: timed inferences at most.")] = 50,
    threads: Annotated[int, typer.Option(help="With --measure: CPU threads on either side.")] = 1,
    require_win: Annotated[
        str | None, typer.Option(metavar="PERCENT", help="Fail unless splitting wins by this, such as 10%.")
    ] = None,
    max_latency_ms: Annotated[float | None, typer.Option(metavar="MS", help="Per inference.")] = None,
    max_energy_j: Annotated[float | None, typer.Option(metavar="J", help="Of the device.")] = None,
    max_cost_usd: Annotated[float | None, typer.Option(metavar="USD", help="Per inference.")] = None,
    max_memory_mb: Annotated[
        float | None, typer.Option(metavar="MB", help="Weights and peak activations on the edge.")
    ] = None,
    max_crossings: Annotated[int | None, typer.Option(metavar="N", help="Tensors that cross.")] = None,
    private: Annotated[
        list[str] | None,
        typer.Option(metavar="INPUT[=LABEL]", help="It, and what is derived from it, must not be sent."),
    ] = None,
    declassify: Annotated[
        list[str] | None, typer.Option(metavar="NODE", help="What this node makes may be sent all the same.")
    ] = None,
    up_mbps: Annotated[float | None, typer.Option(metavar="MBPS", help="In place of the network's.")] = None,
    rtt_ms: Annotated[float | None, typer.Option(metavar="MS", help="In place of the network's.")] = None,
    load: Annotated[float, typer.Option(metavar="X", help="The server takes this many times longer.")] = 1.0,
    edge: Annotated[str | None, typer.Option(metavar="TARGET", help="Whose power counts.")] = None,
    cloud: Annotated[str | None, typer.Option(metavar="TARGET", help="Whose price counts.")] = None,
    list_cuts: Annotated[bool, typer.Option("--list-cuts", help="List all legal cuts.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why, and what would move the cut.")] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="Draw the optimum over bandwidth.")] = False,
    pareto: Annotated[
        str | None, typer.Option(metavar="NAME,..", help="The front of these objectives.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --sweep or --pareto: draw it here too.")
    ] = None,
    depfile: Depfile = None,
    json: Json = False,
) -> None:
    """Find the best cut, and all that are the best at some bandwidth."""
    from edgecut.cli import plans, session
    from edgecut.ir.errors import UsageError
    from edgecut.passes import recipes

    given: dict[str, Any] = {
        "network": network,
        "objective": objective,
        "weights": weights.split(",") if weights else None,
        "cut": cut,
        "mode": mode,
        "head": head,
        "measure": "true" if measure else None,
        "runs": runs,
        "threads": threads,
        "require_win": require_win,
        "max_latency_ms": max_latency_ms,
        "max_energy_j": max_energy_j,
        "max_cost_usd": max_cost_usd,
        "max_memory_mb": max_memory_mb,
        "max_crossings": max_crossings,
        "private": private,
        "declassify": declassify,
        "up_mbps": up_mbps,
        "rtt_ms": rtt_ms,
        "load": load,
        "edge": edge,
        "cloud": cloud,
    }
    options = {k: v if isinstance(v, list) else str(v) for k, v in given.items() if v is not None}
    source, item = recipes.Source(model).front()[:1], recipes.bind("partition", options)
    looks = {"list-cuts": list_cuts, "explain": explain, "sweep": sweep, "pareto": pareto}
    wanted = [name for name, value in looks.items() if value]
    if len(wanted) > 1 or (wanted and output):
        raise UsageError("give one of -o, --list-cuts, --explain, --sweep and --pareto")
    if svg and wanted not in (["sweep"], ["pareto"]):
        raise UsageError("--svg goes with --sweep or --pareto")
    flags = session.Flags(depfile=depfile)
    if wanted:
        asked = plans.Asked(item, json, svg, tuple((pareto or "").split(",")))
        plans.LOOKS[wanted[0]](session.run(source, flags), asked)
        return
    passes = [*source, item]
    program = session.run_to_file(passes, flags, output) if output else session.run(passes, flags)
    plans.plan(program, as_json=json)
