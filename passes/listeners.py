"""What can watch a pipeline: timing, verifying, printing and saving after each pass."""

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from edgecut.ir.errors import EdgecutError, ModelError, UsageError
from edgecut.ir.verify import verify
from edgecut.passes.base import Pass
from edgecut.passes.pipeline import Event


class Timing:
    """Collects the wall time of each pass (``--time-passes``)."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Remember what ran, and for how long."""
        self.events.append(event)

    def table(self) -> str:
        """One line per pass: seconds, share of the whole, name; a star where the cache had the result."""
        total = sum(event.seconds for event in self.events)
        lines = [
            f"{e.seconds:9.3f} s {100 * e.seconds / total if total else 0:5.1f} %  "
            f"{e.item.name}{'  (cached)' if e.cached else ''}"
            for e in self.events
        ]
        return "\n".join([*lines, f"{total:9.3f} s 100.0 %  total"])


def verify_each(event: Event) -> None:
    """Check the program that a pass left behind (``--verify-each``).

    Raises:
        ModelError: The pass broke it; the message names the pass.
    """
    try:
        verify(event.program)
    except EdgecutError as error:
        raise ModelError(f"pass {event.item.name} left a broken program: {error}") from error


class PrintAfter:
    """Prints the program after some passes (``--print-ir-after``)."""

    def __init__(self, names: Sequence[str], out: TextIO, passes: Sequence[Pass]) -> None:
        unknown = [n for n in names if n != "all" and n not in {p.name for p in passes}]
        if unknown:
            have = ", ".join(p.name for p in passes)
            raise UsageError(f"{unknown[0]!r} is not run here", where="--print-ir-after", hint=f"all, {have}")
        self.names = set(names)
        self.out = out

    def __call__(self, event: Event) -> None:
        """Print the program if this pass was asked for."""
        from edgecut.ir import printer  # which knows all annotations

        if self.names & {"all", event.item.name}:
            print(f"--- after {event.item.name}\n{printer.text(event.program)}\n", file=self.out)


class SaveTemps:
    """Saves the program after each pass (``--save-temps``)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, event: Event) -> None:
        """Save the program as ``<number>-<pass>.onnx``."""
        event.program.save(self.folder / f"{event.index:02d}-{event.item.name}.onnx")
