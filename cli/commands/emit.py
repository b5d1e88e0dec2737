"""``edgecut emit``: artifacts from a partitioned IR file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecut.cli.options import Depfile, DynamicBatch, Json, Shape, TimePasses


def emit(
    ir: Annotated[
        Path, typer.Argument(help="A partitioned IR file; any model for --explain.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Build directory, replaced as a whole.")
    ] = Path("build"),
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare LiteRT with ONNX Runtime, group by group.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Only say what the edge can run, and why not the rest.")
    ] = False,
    dynamic_batch: DynamicBatch = False,
    shape: Shape = None,
    depfile: Depfile = None,
    time_passes: TimePasses = False,
    json: Json = False,
) -> None:
    """Write both artifacts and the manifest of a cut program."""
    from edgecut.cli import session, tables
    from edgecut.passes import recipes

    front = recipes.Source(ir, tuple(shape or ())).front()
    flags = session.Flags(time_passes, depfile=depfile)
    if explain:
        tables.lowering(session.run(front, flags), as_json=json)
        return
    emitting = recipes.emit(verify=verify, dynamic_batch=dynamic_batch)
    session.run_to_folder([*front[:1], *emitting], flags, output, as_json=json)
