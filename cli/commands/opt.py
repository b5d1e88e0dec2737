"""``edgecut opt``: any pipeline, from file to file, as mlir-opt."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecut.cli.options import (
    Depfile,
    Model,
    NoCache,
    OutputFile,
    PrintIrAfter,
    SaveTemps,
    Shape,
    TimePasses,
    VerifyEach,
)


def opt(
    model: Model,
    output: OutputFile,
    pipeline: Annotated[
        str,
        typer.Option("--pipeline", "-p", metavar="TEXT", help='Such as "simplify,prune{ratio=0.3}".'),
    ],
    shape: Shape = None,
    save_temps: SaveTemps = None,
    depfile: Depfile = None,
    time_passes: TimePasses = False,
    verify_each: VerifyEach = False,
    print_ir_after: PrintIrAfter = None,
    no_cache: NoCache = False,
) -> None:
    """Run a pipeline of passes from file to file."""
    from edgecut.cli import session
    from edgecut.passes import recipes

    passes = recipes.parse(recipes.Source(model, tuple(shape or ())), pipeline)
    prints = tuple(print_ir_after or ())
    flags = session.Flags(time_passes, verify_each, prints, save_temps, depfile, no_cache)
    session.run_to_file(passes, flags, output)
