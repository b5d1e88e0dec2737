"""``edgecut convert``: a model that is not cut, as one TFLite file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecut.cli import sources
from edgecut.cli.options import (
    Depfile,
    DynamicBatch,
    Json,
    Scheme,
    TimePasses,
)

if TYPE_CHECKING:
    from edgecut.passes.recipes import Source


@sources.takes
def convert(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The .tflite file.", show_default=False)
    ],
    quantize: Annotated[Scheme, typer.Option(help="auto: int8 where --calibration is given.")] = Scheme.auto,
    edge: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="Profile there; what integers are not faster for stays float."),
    ] = None,
    dynamic_batch: DynamicBatch = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare LiteRT with ONNX Runtime, group by group.")
    ] = False,
    depfile: Depfile = None,
    time_passes: TimePasses = False,
    json: Json = False,
    *,
    source: Source,
) -> None:
    """Write a whole model as one TFLite file."""
    from edgecut.cli import session, tables
    from edgecut.passes import depfile as rule
    from edgecut.passes import recipes

    passes = recipes.convert(source, output, str(quantize), edge, dynamic_batch=dynamic_batch, verify=verify)
    program = session.run(passes, session.Flags(time_passes, no_cache=True))
    if depfile:
        rule.write(depfile, output, passes)
    typer.echo(tables.metrics(program, "convert", as_json=json))
