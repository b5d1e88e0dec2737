"""``edgecut profile``: what every part of a model costs on the edge and in the cloud."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecut.cli.options import Calibration, Cloud, Depfile, Edge, Json, NoCache, Shape

if TYPE_CHECKING:
    from edgecut.passes.base import Pass
    from edgecut.passes.profile.report import Report


def profile(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="MODEL...", help="A model or IR file; with --fit several, or .json profiles."),
    ] = None,
    edge: Edge = "local",
    cloud: Cloud = "local",
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="TARGET", help="Either side, as the target's kind says."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the annotated IR (with --fit, the target)."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads on either side.")] = 1,
    runs: Annotated[int, typer.Option(min=0, help="Timed inferences at most; 0: as time allows.")] = 0,
    again: Annotated[bool, typer.Option("--again", help="Measure again what is known already.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave what was sent on a remote device.")] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Put two targets, or two .json profiles, side by side."),
    ] = None,
    calibration: Calibration = None,
    fit: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="Fit this target's figures to the profiles; prints its file."),
    ] = None,
    device_files: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write what to carry to a device and profile there: sh profile.sh."),
    ] = None,
    shape: Shape = None,
    depfile: Depfile = None,
    no_cache: NoCache = False,
    json: Json = False,
) -> None:
    """Measure each operator on both targets where they are at hand, and predict it where not.

    With --calibration the int8 model is profiled too, and put beside the float one.
    """
    from edgecut.cli import profile_view, session
    from edgecut.ir import files
    from edgecut.passes.profile import report, sides, study

    edge, cloud = sides.place(target, edge, cloud)
    options = study.Options(tuple(shape or ()), threads, runs, again, keep, calibration)
    flags = session.Flags(depfile=depfile, no_cache=no_cache or again)

    def profiled(passes: list[Pass], path: Path | None = None) -> Report:
        program = session.run_to_file(passes, flags, path) if path else session.run(passes, flags)
        return report.of(program)

    given = list(models or ())
    if device_files is not None:
        passes = study.pipeline(given, options, edge, cloud)[:-1]
        for path in study.device_files(session.run(passes, flags), device_files):
            typer.echo(path)
    elif fit is not None:
        text = study.fitted(fit, given, options, edge, profiled)
        files.write(output, text.encode()) if output else typer.echo(text, nl=False)
    elif compare is not None:
        profile_view.compared(study.compared(given, compare, options, profiled), as_json=json)
    elif calibration is not None:
        profile_view.precisions(study.precisions(given, options, edge, cloud, profiled), as_json=json)
    else:
        profile_view.show(profiled(study.pipeline(given, options, edge, cloud), output), as_json=json)
