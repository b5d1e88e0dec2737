"""``edgecut profile``: what every part of a model costs on the edge and in the cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecut.cli.options import Cloud, Depfile, Edge, Json, Model, NoCache, Shape


def profile(
    model: Model,
    edge: Edge = "local",
    cloud: Cloud = "local",
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="TARGET", help="Either side, as the target's kind says."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the annotated IR (.onnx).")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads on either side.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Timed inferences at most.")] = 50,
    again: Annotated[bool, typer.Option("--again", help="Measure again what is known already.")] = False,
    shape: Shape = None,
    depfile: Depfile = None,
    no_cache: NoCache = False,
    json: Json = False,
) -> None:
    """Measure each operator on both targets where they are at hand, and predict it where not."""
    from edgecut.cli import profile_view, session
    from edgecut.ir import typed
    from edgecut.passes import recipes
    from edgecut.passes.profile import report, sides

    edge, cloud = sides.place(target, edge, cloud)
    options = {"edge": edge, "cloud": cloud, "threads": threads, "runs": runs, "again": again}
    passes = [*recipes.Source(model, tuple(shape or ())).front(), recipes.make("profile", **options)]
    flags = session.Flags(depfile=depfile, no_cache=no_cache or again)
    program = session.run_to_file(passes, flags, output) if output else session.run(passes, flags)
    found = report.of(program)
    if json:
        typer.echo(typed.dumps(found, indent=2))
    else:
        profile_view.show(found)
