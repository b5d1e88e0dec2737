"""``edgecut sign``: puts a signature beside a build's manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sign(
    build: Annotated[
        Path | None, typer.Argument(metavar="[BUILD]", help="A build directory.", show_default=False)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private Ed25519 key, PEM; signs the build with it.")
    ] = None,
    new_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Make a key here, and FILE.pub for the devices.")
    ] = None,
) -> None:
    """Sign a build, for devices and servers that run with --require-signature."""
    from edgecut.ir.errors import UsageError
    from edgecut.runtime import signing

    if new_key is None and (build is None or key is None):
        raise UsageError(
            "nothing to do", hint="edgecut sign BUILD --key FILE, or edgecut sign --new-key FILE"
        )
    if new_key is not None:
        typer.echo(f"public key: {signing.new_key(new_key)}")
    if build is not None:
        private = key or new_key
        assert private is not None
        typer.echo(f"signature: {signing.sign(build, private)}")
