"""``edgecut targets``: the devices, servers and networks that can be named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecut.cli.options import Json


def targets(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show this target's file, sources included; 'new' makes one.", show_default=False
        ),
    ] = None,
    from_profile: Annotated[
        list[Path] | None,
        typer.Option(metavar="P.JSON", help="With 'new': profiles measured on the device (repeatable)."),
    ] = None,
    called: Annotated[
        str, typer.Option("--name", metavar="NAME", help="With 'new': name of the target.")
    ] = "my-board",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="With 'new': file to write (.toml).")
    ] = None,
    json: Json = False,
) -> None:
    """List the targets, print one, or make one from measured profiles."""
    from edgecut.ir import files, typed
    from edgecut.ir.errors import UsageError
    from edgecut.targets import catalogue

    if name == "new":
        from edgecut.passes.profile import study

        if not from_profile:
            raise UsageError(
                "edgecut targets new needs --from-profile", hint="edgecut profile --json writes one"
            )
        text = study.new_target(called, from_profile)
        files.write(output, text.encode()) if output else typer.echo(text, nl=False)
        return
    if from_profile:
        raise UsageError("--from-profile goes with: edgecut targets new")
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
