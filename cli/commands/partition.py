"""``edgecut partition``: decide what runs where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecut.cli.options import Depfile, Json


def partition(
    model: Annotated[Path, typer.Argument(help="A profiled IR file.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="IR file to write (.onnx).")
    ] = None,
    network: Annotated[str, typer.Option(metavar="NAME", help="Network: a name, or a .toml file.")] = "wifi",
    objective: Annotated[str, typer.Option(help="What to minimize.")] = "latency",
    cut: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Take this cut: its crossing tensors joined by '+'."),
    ] = None,
    list_cuts: Annotated[bool, typer.Option("--list-cuts", help="List all legal cuts and stop.")] = False,
    depfile: Depfile = None,
    json: Json = False,
) -> None:
    """Find the best cut, and all that are the best at some bandwidth."""
    from edgecut.cli import plans, session
    from edgecut.ir import annotations, typed
    from edgecut.ir.annotations import Plan
    from edgecut.passes import recipes, text

    source = recipes.Source(model).front()[:1]
    if list_cuts:
        from edgecut.passes.partition import listing

        program = session.run(source, session.Flags())
        cuts, complete = listing.figures(program, network)
        if not complete:
            session.warn(f"more than {listing.LIMIT} cuts: only those where one tensor crosses are listed")
        typer.echo(typed.dumps(cuts, indent=2)) if json else plans.listing(cuts)
        return
    options: dict[str, text.Raw] = {"network": network, "objective": objective}
    if cut is not None:
        options["cut"] = cut
    passes = [*source, recipes.bind("partition", options)]
    flags = session.Flags(depfile=depfile)
    program = session.run_to_file(passes, flags, output) if output else session.run(passes, flags)
    plan = annotations.require(program.model, Plan, "run the partition pass")
    typer.echo(typed.dumps(plan, indent=2)) if json else plans.show(plan)
