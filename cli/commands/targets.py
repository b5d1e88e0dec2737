"""``edgecut targets``: the devices, servers and networks that can be named."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecut.cli.options import Json


def targets(
    name: Annotated[
        str | None, typer.Argument(help="Show this target's file, sources included.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """List the targets, or print one."""
    from edgecut.ir import typed
    from edgecut.targets import catalogue

    if name is not None:
        typer.echo(typed.dumps(catalogue.find(name), indent=2) if json else catalogue.source(name))
        return
    entries = catalogue.entries()
    if json:
        typer.echo(typed.dumps(entries, indent=2))
        return
    width = max(len(e.name) for e in entries)
    for entry in entries:
        typer.echo(f"{entry.name.ljust(width)}  {entry.kind.ljust(7)}  {entry.title}")
