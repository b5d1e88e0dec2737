"""``edgecut run``: one request through a build, as a device would make it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    manifest: Annotated[
        Path, typer.Argument(help="manifest.json, or the build directory.", show_default=False)
    ],
    input_: Annotated[
        list[str],
        typer.Option("--input", "-i", metavar="[NAME=]FILE", help="A .npy or .npz file (repeatable)."),
    ],
    server: Annotated[
        str, typer.Option(metavar="URL", help="Server of the cloud half.")
    ] = "http://127.0.0.1:8000",
    cut: Annotated[
        str | None, typer.Option(metavar="NAME", help="Cut to run; by default the manifest's first.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the outputs: .npz or .npy.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the edge kernels.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait for the server.")] = 30.0,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Bearer token that the server asks for.")
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificates to check an https server's against.")
    ] = None,
    uncoded: Annotated[
        bool, typer.Option("--uncoded", help="Send plain tensors, to a server that is not edgecut's.")
    ] = False,
    require_signature: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Public keys; one must have signed the manifest.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print outputs and times as JSON.")] = False,
) -> None:
    """Run the edge half here, the rest on a server."""
    from edgecut.runtime import describe, inputs, tokens
    from edgecut.runtime.device import Device

    token = tokens.read(token_file)[0] if token_file else None
    ca = str(tls_ca) if tls_ca else None
    device = Device(
        manifest,
        server=server,
        threads=threads,
        timeout_s=timeout,
        token=token,
        ca=ca,
        coded=not uncoded,
        require_signature=require_signature,
    )
    answer = device.run(inputs.read(device.manifest, input_), cut)
    if output is not None:
        inputs.write(answer.outputs, output)
    typer.echo(describe.as_json(answer) if json else describe.as_text(answer))
