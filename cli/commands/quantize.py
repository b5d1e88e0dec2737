"""``edgecut quantize``: int8 QDQ from calibration data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecut.cli.options import Depfile, Json, Model, NoCache, OutputFile, Shape


def quantize(
    model: Model,
    output: OutputFile,
    calibration: Annotated[
        Path,
        typer.Option("--calibration", metavar="DATA", help=".npz, .npy, or a folder of images."),
    ],
    scheme: Annotated[str, typer.Option(help="See edgecut passes quantize.")] = "int8",
    shape: Shape = None,
    depfile: Depfile = None,
    no_cache: NoCache = False,
    json: Json = False,
) -> None:
    """Quantize a model to int8 with calibration data."""
    from edgecut.cli import session, tables
    from edgecut.passes import recipes, text

    source = recipes.Source(model, tuple(shape or ()), calibration=calibration)
    options: dict[str, text.Raw] = {"scheme": scheme, "calibration": str(calibration)}
    passes = [*source.front(), recipes.bind("quantize", options)]
    program = session.run_to_file(passes, session.Flags(depfile=depfile, no_cache=no_cache), output)
    typer.echo(tables.metrics(program, "quantize", as_json=json))
