"""``edgecut quantize``: integer kernels or small weights, within an accuracy budget."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecut.cli.options import (
    BestEffort,
    Calibration,
    Depfile,
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
    OutputFile,
    Ranges,
    Refine,
    Samples,
    Scheme,
    Shape,
)


def quantize(
    model: Model,
    output: OutputFile,
    calibration: Calibration = None,
    scheme: Annotated[Scheme, typer.Option(help="How numbers are held (docs/compressing.md).")] = Scheme.int8,
    edge: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET", help="Profile before and after there; what is not faster stays float."
        ),
    ] = None,
    method: Method = Ranges.auto,
    samples: Samples = None,
    keep: Keep = None,
    max_accuracy_drop: MaxAccuracyDrop = None,
    min_sqnr: MinSqnr = None,
    min_agreement: MinAgreement = None,
    best_effort: BestEffort = False,
    refine: Refine = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print each kernel's error, time saved and decision.")
    ] = False,
    shape: Shape = None,
    image: ImageInput = None,
    mean: ImageMean = None,
    std: ImageStd = None,
    scale: ImageScale = 1.0,
    depfile: Depfile = None,
    no_cache: NoCache = False,
    json: Json = False,
) -> None:
    """Quantize a model with calibration data, within an accuracy budget."""
    from edgecut.cli import compression_view, session
    from edgecut.passes import recipes
    from edgecut.passes.effects import Effects

    source = recipes.Source(model, tuple(shape or ()), session.image(image, mean, std, scale), calibration)
    quantizing = recipes.Quantizing(
        scheme.value, method.value, samples, tuple(keep or ()), max_accuracy_drop, min_sqnr, min_agreement,
        best_effort, explain, refine,
    )  # fmt: skip
    effects = Effects()
    passes = recipes.quantize(source, quantizing, edge)
    flags = session.Flags(depfile=depfile, no_cache=no_cache)
    program = session.run_to_file(passes, flags, output, [effects])
    compression_view.compression(effects, program, explain=explain, as_json=json)
