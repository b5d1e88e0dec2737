"""``edgecut serve``: the cloud half of builds, over the Open Inference Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    builds: Annotated[
        list[Path], typer.Argument(metavar="BUILD...", help="Build directories.", show_default=False)
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each model.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Requests that run at once.")] = 1,
    max_batch: Annotated[int, typer.Option(min=1, help="Waiting requests that are run as one.")] = 8,
    max_waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait; others get 503.")] = 64,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of the largest request.")] = 64 << 20,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Bearer tokens, one a line, that requests must hold.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="TLS certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key, PEM.")] = None,
    require_signature: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Public keys; one must have signed each manifest.")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="uvicorn|ray", help="One process, or replicas on Ray Serve (edgecut[ray]).")
    ] = "uvicorn",
    replicas: Annotated[int, typer.Option(min=1, help="With --engine ray: copies of the server.")] = 1,
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="With --engine ray: a running cluster, or auto.")
    ] = None,
) -> None:
    """Answer requests for the cloud half of builds until interrupted."""
    from edgecut.ir.errors import UsageError
    from edgecut.runtime import serving

    def announce(url: str) -> None:
        typer.echo(f"edgecut serve: listening on {url}", err=True)

    settings = serving.Settings(
        threads,
        workers,
        max_batch,
        max_waiting,
        max_body,
        token_file=token_file,
        certificate=tls_cert,
        key=tls_key,
        require_signature=require_signature,
    )
    if engine == "ray":
        from edgecut.runtime import ray_serving

        cluster = ray_serving.Cluster(replicas, ray_address)
        ray_serving.serve(builds, host=host, port=port, settings=settings, cluster=cluster, announce=announce)
        return
    if engine != "uvicorn" or replicas > 1 or ray_address:
        raise UsageError("several replicas need --engine ray", where=f"--engine {engine}")
    serving.serve(builds, host=host, port=port, settings=settings, announce=announce)
