"""``edgecut check``: does a build compute what the imported model computes?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    build: Annotated[Path, typer.Argument(help="A build directory.", show_default=False)],
    data: Annotated[
        Path,
        typer.Option(metavar="DATA", help=".npz, .npy, or a folder of images; labels are used if there."),
    ],
    cut: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Cut to check, or all (repeatable).")
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Server of the cloud half; by default one is started.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first samples.")] = None,
    max_error: Annotated[
        float | None, typer.Option(min=0.0, help="Relative error allowed (1e-4 for float builds).")
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of equal top-1 (for inexact builds without labels 0.97, or what was planned).",
        ),
    ] = None,
    max_accuracy_drop: Annotated[
        float | None, typer.Option(min=0.0, help="Points of accuracy (1 for int8 builds with labels).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")] = False,
) -> None:
    """Compare a build with the imported model on real inputs."""
    from edgecut.frontends import data as frontend
    from edgecut.ir import manifest, typed
    from edgecut.ir.errors import CheckError
    from edgecut.ir.program import TensorSpec
    from edgecut.runtime import compare, describe

    described = manifest.read(build, verify=False)
    specs = [TensorSpec(t.name, t.dtype, t.shape) for t in described.inputs]
    found = frontend.load(data, specs, limit, compare.classes(described))
    wanted = [name for name in cut or () if name != "all"]
    limits = compare.Limits(max_error, min_agreement, max_accuracy_drop)
    reports = compare.compare(build, found, found.labels, cuts=wanted, server=server, limits=limits)
    typer.echo(typed.dumps(reports, indent=2) if json else describe.checks(reports))
    failed = [r for r in reports if r.failure]
    if failed:
        what = f"{len(failed)} of {len(reports)} cuts differ from the imported model: {failed[0].failure}"
        raise CheckError(what, where=f"cut {failed[0].cut}")
