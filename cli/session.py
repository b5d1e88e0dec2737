"""Runs a pipeline for a command: listeners from its flags, progress on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgecut.ir.program import Program
    from edgecut.passes.base import Context, Pass
    from edgecut.passes.pipeline import Listener
    from edgecut.passes.recipes import Image


class BarProgress:
    """Progress bars on stderr, cleared when they are done; nothing where stderr is no terminal."""

    @contextlib.contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[], None]]:
        """Open a bar of ``total`` steps; the function that the block gets advances it by one."""
        if not sys.stderr.isatty():
            yield lambda: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task(description, total=total)
            yield lambda: bars.advance(bar)


@dataclass(frozen=True)
class Flags:
    """What the user wants to see and keep of the passes."""

    time_passes: bool = False
    verify_each: bool = False
    print_ir_after: tuple[str, ...] = ()
    save_temps: Path | None = None
    depfile: Path | None = None
    no_cache: bool = False


def context(output: Path | None = None) -> Context:
    """A context that talks to the user's terminal."""
    from edgecut.passes.base import Context

    return Context(output=output or Path(), progress=BarProgress(), warn=warn)


def warn(message: str) -> None:
    """Tell the user something that is no error."""
    print(f"edgecut: warning: {message}", file=sys.stderr)


def run(
    passes: list[Pass], flags: Flags, output: Path | None = None, listeners: Sequence[Listener] = ()
) -> Program:
    """Run passes from nothing to a program, with the listeners that the flags ask for.

    Args:
        passes: The first one imports the model.
        flags: What to print and keep.
        output: Folder that emitting passes write into.
        listeners: Told after each pass too.
    """
    from edgecut.ir.program import Program
    from edgecut.passes import pipeline
    from edgecut.passes.listeners import PrintAfter, SaveTemps, Timing, verify_each

    told = list(listeners)
    timing = Timing()
    if flags.time_passes:
        told.append(timing)
    if flags.verify_each:
        told.append(verify_each)
    if flags.print_ir_after:
        told.append(PrintAfter(flags.print_ir_after, sys.stderr, passes))
    if flags.save_temps:
        told.append(SaveTemps(flags.save_temps))
    program = pipeline.run(passes, Program.empty(), context(output), told, use_cache=not flags.no_cache)
    if flags.time_passes:
        print(timing.table(), file=sys.stderr)
    return program


def run_to_file(
    passes: list[Pass], flags: Flags, output: Path, listeners: Sequence[Listener] = ()
) -> Program:
    """Run passes and save the program that they give."""
    from edgecut.passes import depfile

    program = run(passes, flags, listeners=listeners)
    program.save(output)
    if flags.depfile:
        depfile.write(flags.depfile, output, passes)
    return program


def run_to_folder(
    passes: list[Pass], flags: Flags, output: Path, *, as_json: bool, keep_ir: bool = False
) -> None:
    """Run passes that leave a build directory, which appears whole or not at all; print what it holds."""
    from edgecut.cli import compression_view, tables
    from edgecut.ir import files, manifest
    from edgecut.passes import depfile
    from edgecut.passes.effects import Effects

    effects = Effects()
    with files.staged_directory(output, manifest.FILE_NAME) as stage:
        run(passes, replace(flags, save_temps=stage / "ir") if keep_ir else flags, stage, [effects])
    path = output / manifest.FILE_NAME
    if flags.depfile:
        depfile.write(flags.depfile, path, passes)
    if as_json:
        sys.stdout.write(path.read_text(encoding="utf-8"))
    else:
        compression_view.effects(effects)
        tables.build(manifest.read(path, verify=False), output)


def image(name: str | None, mean: str | None, std: str | None, scale: float) -> Image | None:
    """The declared image input, if any.

    Raises:
        UsageError: A normalization without an image, or a list that is no list of numbers.
    """
    from edgecut.ir.errors import UsageError
    from edgecut.passes.recipes import Image

    if name is None:
        if mean or std or scale != 1.0:
            raise UsageError("--mean, --std and --scale need --image INPUT")
        return None
    return Image(name, _numbers("--mean", mean or "0"), _numbers("--std", std or "1"), scale)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    from edgecut.ir.errors import UsageError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"is {text!r}", where=option, hint="numbers joined by commas") from error
