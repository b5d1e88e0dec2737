"""``edgecut build``: a trained model in, a deployable build directory out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgecut.cli.cutting import takes
from edgecut.cli.options import (
    COMPRESSION,
    BestEffort,
    Calibration,
    Cloud,
    Depfile,
    DynamicBatch,
    Edge,
    Finetune,
    ImageInput,
    ImageMean,
    ImageScale,
    ImageStd,
    Json,
    Keep,
    MaxAccuracyDrop,
    Method,
    MinAgreement,
    MinSqnr,
    Model,
    NoCache,
    PrintIrAfter,
    Ranges,
    Refine,
    Samples,
    Scheme,
    Shape,
    Sparse,
    Sparsity,
    TimePasses,
    VerifyEach,
)


@takes
def build(
    model: Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Build directory, replaced as a whole.")
    ] = Path("build"),
    edge: Edge = "local",
    cloud: Cloud = "local",
    calibration: Calibration = None,
    shape: Shape = None,
    image: ImageInput = None,
    mean: ImageMean = None,
    std: ImageStd = None,
    scale: ImageScale = 1.0,
    quantize: Annotated[
        Scheme, typer.Option(help="auto: the targets' scheme where --calibration is given and it is faster.")
    ] = Scheme.auto,
    method: Method = Ranges.auto,
    samples: Samples = None,
    keep: Keep = None,
    max_accuracy_drop: MaxAccuracyDrop = None,
    min_sqnr: MinSqnr = None,
    min_agreement: MinAgreement = None,
    best_effort: BestEffort = False,
    refine: Refine = False,
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
    cutting: dict[str, Any],
) -> None:
    """Compile a model into an edge half and a cloud half."""
    from edgecut.cli import session
    from edgecut.passes import recipes

    declared = session.image(image, mean, std, scale)
    source = recipes.Source(model, tuple(shape or ()), declared, calibration)
    if pipeline:
        passes = recipes.parse(source, pipeline)
    else:
        quantizing = recipes.Quantizing(
            quantize.value, method.value, samples, tuple(keep or ()), max_accuracy_drop, min_sqnr,
            min_agreement, best_effort, False, refine,
        )  # fmt: skip
        pruning = recipes.Pruning(
            prune, prune_macs, prune_size, prune_speedup, samples=samples, finetune=finetune,
            max_accuracy_drop=max_accuracy_drop, min_sqnr=min_sqnr, min_agreement=min_agreement,
            best_effort=best_effort, sparsity=sparsity.value,
        )  # fmt: skip
        options = recipes.BuildOptions(edge, cloud, cutting, quantizing, pruning, dynamic_batch)
        passes = recipes.build(source, options)
    if print_pipeline:
        typer.echo(recipes.unparse(passes))
        return
    prints = tuple(print_ir_after or ())
    flags = session.Flags(time_passes, verify_each, prints, depfile=depfile, no_cache=no_cache)
    session.run_to_folder(passes, flags, output, as_json=json, keep_ir=save_temps)
