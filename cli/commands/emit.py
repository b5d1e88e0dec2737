"""``edgecut emit``: artifacts from a partitioned IR file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecut.cli.options import Depfile, Json, TimePasses


def emit(
    ir: Annotated[Path, typer.Argument(help="A partitioned IR file.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Build directory, replaced as a whole.")
    ] = Path("build"),
    depfile: Depfile = None,
    time_passes: TimePasses = False,
    json: Json = False,
) -> None:
    """Write both artifacts and the manifest of a cut program."""
    from edgecut.cli import session
    from edgecut.passes import recipes

    passes = [*recipes.Source(ir).front()[:1], *recipes.emit()]
    session.run_to_folder(passes, session.Flags(time_passes, depfile=depfile), output, as_json=json)
