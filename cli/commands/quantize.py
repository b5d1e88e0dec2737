"""``edgecut quantize``: integer kernels or small weights, within an accuracy budget."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from edgecut.cli import quantizing, sources
from edgecut.cli.options import Depfile, Json, NoCache, OutputFile, Scheme

if TYPE_CHECKING:
    from edgecut.passes.recipes import Quantizing, Source


@quantizing.takes
@sources.takes
def quantize(
    output: OutputFile,
    scheme: Annotated[Scheme, typer.Option(help="How numbers are held (docs/compressing.md).")] = Scheme.int8,
    edge: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET", help="Profile before and after there; what is not faster stays float."
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print each kernel's error, time saved and decision.")
    ] = False,
    depfile: Depfile = None,
    no_cache: NoCache = False,
    json: Json = False,
    *,
    source: Source,
    quantizing: Quantizing,
) -> None:
    """Quantize a model with calibration data, within an accuracy budget."""
    from edgecut.cli import compression_view, session
    from edgecut.passes import recipes
    from edgecut.passes.effects import Effects

    quantizing = replace(quantizing, scheme=scheme.value, explain=explain)
    effects = Effects()
    passes = recipes.quantize(source, quantizing, edge)
    flags = session.Flags(depfile=depfile, no_cache=no_cache)
    program = session.run_to_file(passes, flags, output, [effects])
    compression_view.compression(effects, program, explain=explain, as_json=json)
