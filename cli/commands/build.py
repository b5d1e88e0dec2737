"""``edgecut build``: a trained model in, a deployable build directory out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecut.cli import cutting, quantizing, sources
from edgecut.cli.options import (
    COMPRESSION,
    Augmentation,
    Cloud,
    Depfile,
    DynamicBatch,
    Edge,
    Finetune,
    Json,
    NoCache,
    PrintIrAfter,
    Scheme,
    Sparse,
    Sparsity,
    TimePasses,
    Unlabelled,
    VerifyEach,
)

if TYPE_CHECKING:
    from edgecut.passes.recipes import Quantizing, Source


@cutting.takes
@quantizing.takes
@sources.takes
def build(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Build directory, replaced as a whole.")
    ] = Path("build"),
    edge: Edge = "local",
    cloud: Cloud = "local",
    quantize: Annotated[
        Scheme, typer.Option(help="auto: the targets' scheme where --calibration is given and it is faster.")
    ] = Scheme.auto,
    prune: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.95, help="Share of channels to remove everywhere.", rich_help_panel=COMPRESSION
        ),
    ] = 0.0,
    prune_macs: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.95, help="Share of operations to prune away.", rich_help_panel=COMPRESSION
        ),
    ] = 0.0,
    prune_size: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.95, help="Share of the weights to prune away.", rich_help_panel=COMPRESSION
        ),
    ] = 0.0,
    prune_speedup: Annotated[
        float,
        typer.Option(
            min=1.0, help="Prune until so many times as fast on the device.", rich_help_panel=COMPRESSION
        ),
    ] = 1.0,
    finetune: Finetune = False,
    augment: Augmentation = None,
    unlabelled: Unlabelled = None,
    sparsity: Sparsity = Sparse.none,
    dynamic_batch: DynamicBatch = False,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", metavar="TEXT", help="Run these passes instead.")
    ] = None,
    print_pipeline: Annotated[bool, typer.Option(help="Print the passes as text and stop.")] = False,
    save_temps: Annotated[bool, typer.Option(help="Keep the program after each pass in DIR/ir.")] = False,
    depfile: Depfile = None,
    time_passes: TimePasses = False,
    verify_each: VerifyEach = False,
    print_ir_after: PrintIrAfter = None,
    no_cache: NoCache = False,
    json: Json = False,
    *,
    source: Source,
    quantizing: Quantizing,
    cutting: dict[str, Any],
) -> None:
    """Compile a model into an edge half and a cloud half."""
    from edgecut.cli import session
    from edgecut.passes import recipes

    if pipeline:
        passes = recipes.parse(source, pipeline)
    else:
        quantizing = replace(quantizing, scheme=quantize.value)
        pruning = recipes.Pruning(
            prune, prune_macs, prune_size, prune_speedup, augment=augment and augment.value,
            unlabelled=unlabelled, samples=quantizing.samples, finetune=finetune,
            max_accuracy_drop=quantizing.max_accuracy_drop, min_sqnr=quantizing.min_sqnr,
            min_agreement=quantizing.min_agreement, best_effort=quantizing.best_effort,
            sparsity=sparsity.value,
        )  # fmt: skip
        options = recipes.BuildOptions(edge, cloud, cutting, quantizing, pruning, dynamic_batch)
        passes = recipes.build(source, options)
    if print_pipeline:
        typer.echo(recipes.unparse(passes))
        return
    prints = tuple(print_ir_after or ())
    flags = session.Flags(time_passes, verify_each, prints, depfile=depfile, no_cache=no_cache)
    session.run_to_folder(passes, flags, output, as_json=json, keep_ir=save_temps)
