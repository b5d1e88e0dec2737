"""``edgecut partition``: decide what runs where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgecut.cli import cutting
from edgecut.cli.options import Depfile, Json


@cutting.takes
def partition(
    model: Annotated[Path, typer.Argument(help="A profiled IR file.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="IR file to write (.onnx).")
    ] = None,
    edge: Annotated[str | None, typer.Option(metavar="TARGET", help="Whose power counts.")] = None,
    cloud: Annotated[str | None, typer.Option(metavar="TARGET", help="Whose price counts.")] = None,
    list_cuts: Annotated[bool, typer.Option("--list-cuts", help="List all legal cuts.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why, and what would move the cut.")] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="Draw the optimum over bandwidth.")] = False,
    pareto: Annotated[
        str | None, typer.Option(metavar="NAME,..", help="The front of these objectives.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --sweep or --pareto: draw it too (.svg, .png).")
    ] = None,
    depfile: Depfile = None,
    json: Json = False,
    *,
    cutting: dict[str, Any],
) -> None:
    """Find the best cut, and all that are the best at some bandwidth."""
    from edgecut.cli import plans, session
    from edgecut.ir.errors import UsageError
    from edgecut.passes import recipes

    options = {**cutting, **{name: value for name, value in (("edge", edge), ("cloud", cloud)) if value}}
    source, item = recipes.Source(model).front()[:1], recipes.bind("partition", options)
    looks = {"list-cuts": list_cuts, "explain": explain, "sweep": sweep, "pareto": pareto}
    wanted = [name for name, value in looks.items() if value]
    if len(wanted) > 1 or (wanted and output):
        raise UsageError("give one of -o, --list-cuts, --explain, --sweep and --pareto")
    if plot and wanted not in (["sweep"], ["pareto"]):
        raise UsageError("--plot goes with --sweep or --pareto")
    flags = session.Flags(depfile=depfile)
    if wanted:
        asked = plans.Asked(item, json, plot, tuple((pareto or "").split(",")))
        plans.LOOKS[wanted[0]](session.run(source, flags), asked)
        return
    passes = [*source, item]
    program = session.run_to_file(passes, flags, output) if output else session.run(passes, flags)
    plans.plan(program, as_json=json)
