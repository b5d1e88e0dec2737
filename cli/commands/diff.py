"""``edgecut diff``: what two IR files differ in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecut.cli.options import Json


def diff(
    before: Annotated[Path, typer.Argument(help="An ONNX or edgecut IR file.", show_default=False)],
    after: Annotated[Path, typer.Argument(help="The file to compare it with.", show_default=False)],
    json: Json = False,
) -> None:
    """Print what two programs differ in (exit code 1 if at all)."""
    from dataclasses import asdict

    from edgecut.ir import typed
    from edgecut.ir.diff import diff as compare
    from edgecut.ir.program import Program

    found = compare(Program.load(before), Program.load(after))
    if json:
        typer.echo(typed.dumps([asdict(d) for d in found], indent=2))
    else:
        for d in found:
            typer.echo(
                "\n".join(
                    f"{sign} {d.place}: {text}"
                    for sign, text in (("-", d.before), ("+", d.after))
                    if text is not None
                )
            )
    if found:
        raise typer.Exit(1)
