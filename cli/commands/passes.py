"""``edgecut passes``: what can stand in a pipeline."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecut.cli.options import Json


def passes(
    name: Annotated[str | None, typer.Argument(help="Show only this pass.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """List all passes with their options."""
    from dataclasses import asdict

    from edgecut.ir import typed
    from edgecut.passes import catalogue

    entries = catalogue.entries(name)
    if json:
        typer.echo(typed.dumps([asdict(e) for e in entries], indent=2))
        return
    for entry in entries:
        typer.echo(f"{entry.name}  ({entry.package})\n  {entry.summary}")
        for o in entry.options:
            default = "required" if o.default is None else f"default {o.default}"
            typer.echo(f"    {o.name}: {o.type} ({default})  {o.help}")
