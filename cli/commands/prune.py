"""``edgecut prune``: whole channels removed, until a goal is reached or a budget used up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecut.cli import sources
from edgecut.cli.options import (
    Augmentation,
    BestEffort,
    Depfile,
    Finetune,
    Json,
    MaxAccuracyDrop,
    MinAgreement,
    MinSqnr,
    NoCache,
    OutputFile,
    Samples,
    Sparse,
    Sparsity,
    Unlabelled,
)

if TYPE_CHECKING:
    from edgecut.passes.recipes import Source


@sources.takes
def prune(
    output: OutputFile,
    ratio: Annotated[
        float, typer.Option(min=0.0, max=0.95, help="Share of channels to remove everywhere.")
    ] = 0.0,
    macs: Annotated[float, typer.Option(min=0.0, max=0.95, help="Share of operations to save.")] = 0.0,
    size: Annotated[float, typer.Option(min=0.0, max=0.95, help="Share of the weights to save.")] = 0.0,
    speedup: Annotated[float, typer.Option(min=1.0, help="Times as fast on --edge, measured.")] = 1.0,
    edge: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="Profile before and after there; budgets are spent on its time."),
    ] = None,
    sparsity: Sparsity = Sparse.none,
    cloud: Annotated[
        str | None, typer.Option(metavar="TARGET", help="Of --sparsity: the server with sparse kernels.")
    ] = None,
    multiple: Annotated[int, typer.Option(min=1, help="Keep a multiple of so many channels.")] = 1,
    samples: Samples = None,
    augment: Augmentation = None,
    unlabelled: Unlabelled = None,
    max_accuracy_drop: MaxAccuracyDrop = None,
    min_sqnr: MinSqnr = None,
    min_agreement: MinAgreement = None,
    best_effort: BestEffort = False,
    finetune: Finetune = False,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of --finetune, at most; default: some minutes' worth.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of --finetune: written after each epoch, to go on from."),
    ] = None,
    depfile: Depfile = None,
    no_cache: NoCache = False,
    json: Json = False,
    *,
    source: Source,
) -> None:
    """Remove whole channels from a model: a share, or as much as a budget allows; and 2:4 sparsity."""
    from edgecut.cli import compression_view, session
    from edgecut.ir.errors import UsageError
    from edgecut.passes import recipes
    from edgecut.passes.effects import Effects

    pruning = recipes.Pruning(
        ratio, macs, size, speedup, multiple, augment and augment.value, unlabelled, samples,
        max_accuracy_drop, min_sqnr, min_agreement, best_effort, finetune, epochs, checkpoint, sparsity.value,
    )  # fmt: skip
    if not pruning:
        hint = "--ratio, --macs, --size, --speedup, --sparsity, or an accuracy budget"
        raise UsageError("it is not said how much to prune", hint=hint)
    effects = Effects()
    flags = session.Flags(depfile=depfile, no_cache=no_cache)
    program = session.run_to_file(recipes.prune(source, pruning, edge, cloud), flags, output, [effects])
    compression_view.compression(effects, program, explain=False, as_json=json)
