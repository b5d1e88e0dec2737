"""What ``edgecut profile`` can be asked for besides one profile: comparisons, precisions, and fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecut.ir import files
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program
from edgecut.passes import recipes
from edgecut.passes.base import Pass
from edgecut.passes.profile import compare, refit, report
from edgecut.passes.profile.compare import Column, Comparison
from edgecut.passes.profile.report import Report, Side
from edgecut.targets import toml
from edgecut.targets.spec import load_device

Profiled = Callable[[list[Pass]], Report]
"""Runs a pipeline that ends with the profile pass, and reads its report."""


@dataclass(frozen=True)
class Options:
    """How models are read and measured."""

    shape: tuple[str, ...] = ()
    threads: int = 1
    runs: int = 0
    again: bool = False
    keep: bool = False
    calibration: Path | None = None


def pipeline(
    models: Sequence[Path], options: Options, edge: str, cloud: str, *, int8: bool = False
) -> list[Pass]:
    """From one model to its profile.

    Raises:
        UsageError: There is not exactly one model.
    """
    if len(models) != 1:
        raise UsageError(f"takes one model, not {len(models)}", where="edgecut profile")
    chain = recipes.Source(models[0], options.shape, calibration=options.calibration).front()
    if int8:
        chain.append(recipes.make("quantize", scheme="int8", calibration=options.calibration))
    how = {name: getattr(options, name) for name in ("threads", "runs", "again", "keep")}
    return [*chain, recipes.make("profile", edge=edge, cloud=cloud, **how)]


def compared(models: Sequence[Path], names: tuple[str, str], options: Options, run: Profiled) -> Comparison:
    """Two targets on one model, or two profiles that were kept as JSON.

    Raises:
        UsageError: A model is missing, or given with profiles that need none.
        ModelError: A profile does not parse.
    """
    if all(name.endswith(".json") for name in names):
        first, second = (report.read(Path(name)) for name in names)
        return compare.compare(*compare.columns((first, second), "edge"))
    return compare.compare(*(_column(models, name, options, run) for name in names))


def precisions(
    models: Sequence[Path], options: Options, edge: str, cloud: str, run: Profiled
) -> dict[str, tuple[Comparison, list[str]]]:
    """Float beside int8 on either side, and what quantization does not pay for there."""
    floating = run(pipeline(models, options, edge, cloud))
    quantized = run(pipeline(models, options, edge, cloud, int8=True))
    sides: tuple[Side, Side] = ("edge", "cloud")
    found = {}
    for side in sides:
        name = floating.edge if side == "edge" else floating.cloud
        columns = Column("float", floating, side), Column("int8", quantized, side)
        found[f"{side} {name}"] = compare.compare(*columns), compare.advice(*columns)
    return found


def fitted(target: str, models: Sequence[Path], options: Options, edge: str, run: Profiled) -> str:
    """The file of a target with its figures fitted to profiles of these models.

    Args:
        target: What to fit; its figures but for the efficiencies are kept.
        models: Models to measure on ``edge``, or profiles that were kept as JSON.
        options: How to measure.
        edge: Where the models are measured.
        run: Runs the pipeline.

    Raises:
        UsageError: There are fewer than two models.
    """
    reports = [
        report.read(m) if m.suffix == ".json" else run(pipeline([m], options, edge, "local")) for m in models
    ]
    base = load_device(target)
    side: Side = "cloud" if base.kind == "cloud" else "edge"
    device = refit.device(base, reports, side)
    return toml.dumps(device, _origin(reports, side, device.compute.error if device.compute else None))


def new_target(name: str, profiles: Sequence[Path]) -> str:
    """The file of a target made from nothing but profiles measured on it.

    Raises:
        UsageError: There are fewer than two models.
        ModelError: A profile does not parse, or measured nothing.
    """
    reports = [report.read(path) for path in profiles]
    device = refit.new(name, reports)
    return toml.dumps(device, _origin(reports, "edge", device.compute.error if device.compute else None))


def device_files(program: Program, folder: Path) -> list[Path]:
    """Write what to carry to a device that nobody can connect to: the model, the profiler and its script.

    Raises:
        ConstraintError: The edge cannot run the whole model.
        TargetError: The disk is full or the place cannot be written.
    """
    from edgecut.profilers import application, litert

    files.write(folder / "model.tflite", litert.emit(program))
    return [folder / "model.tflite", *application.write(folder)]


def _origin(reports: Sequence[Report], side: Side, error: object) -> str:
    conditions = reports[0].edge_conditions if side == "edge" else reports[0].cloud_conditions
    how = (
        f"{conditions.machine}, {conditions.runtime}, {conditions.threads} thread(s)"
        if conditions
        else "unknown"
    )
    models = ", ".join(dict.fromkeys(r.model for r in reports))
    lines = [
        f"Efficiencies fitted by `edgecut profile --fit` to measured operators of {models}",
        f"on {how}. Memory, power and price are not measured: check them.",
    ]
    if dataclasses.is_dataclass(error):
        lines.append("[compute.error] is that of models held out.")
    return "\n".join(lines)


def _column(models: Sequence[Path], name: str, options: Options, run: Profiled) -> Column:
    """One target on its own side; the other side is predicted, which costs nothing."""
    kind = load_device(name).kind
    if kind == "cloud":
        return Column(name, run(pipeline(models, options, "x86-host", name)), "cloud")
    return Column(name, run(pipeline(models, options, name, "x86-vm")), "edge")
