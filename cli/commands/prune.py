"""``edgecut prune``: whole channels removed."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecut.cli.options import Calibration, Depfile, Json, Model, NoCache, OutputFile, Shape


def prune(
    model: Model,
    output: OutputFile,
    ratio: Annotated[float, typer.Option(min=0.0, max=0.95, help="Share of channels to remove.")],
    calibration: Calibration = None,
    shape: Shape = None,
    depfile: Depfile = None,
    no_cache: NoCache = False,
    json: Json = False,
) -> None:
    """Remove whole channels from a model."""
    from edgecut.cli import session, tables
    from edgecut.passes import recipes

    source = recipes.Source(model, tuple(shape or ()), calibration=calibration)
    passes = [*source.front(), recipes.make("prune", ratio=ratio, calibration=calibration)]
    program = session.run_to_file(passes, session.Flags(depfile=depfile, no_cache=no_cache), output)
    typer.echo(tables.metrics(program, "prune", as_json=json))
