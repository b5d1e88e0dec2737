"""``edgecut show``: a model or IR file as readable text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecut.cli.options import Json


def show(
    file: Annotated[Path, typer.Argument(help="An ONNX or edgecut IR file.", show_default=False)],
    json: Json = False,
) -> None:
    """Print a program with costs, side and quantization."""
    from edgecut.ir import printer, typed
    from edgecut.ir.program import Program

    program = Program.load(file)
    typer.echo(typed.dumps(printer.describe(program), indent=2) if json else printer.text(program))
