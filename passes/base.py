"""The contract of a pass, and what a pipeline gives to it.

A pass is a frozen dataclass. Its fields are its options: their names, types and defaults are what the
pipeline text ``name{option=value}`` accepts, and their ``help`` is what ``edgecut passes`` shows.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from edgecut.ir.program import Program


class Progress(Protocol):
    """Shows how far a long task has come."""

    def task(self, description: str, total: int) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Open a bar of ``total`` steps; the function that the block gets advances it by one."""
        ...


class NoProgress:
    """Shows nothing: for libraries, tests, and a stderr that is no terminal."""

    @contextlib.contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[], None]]:
        """Open a bar that nobody sees."""
        yield lambda: None


@dataclass
class Context:
    """What a pass may use besides the program: where files go, and whom to tell."""

    output: Path = Path("build")
    """Folder that emitting passes write into (a staging folder while a build runs)."""
    progress: Progress = field(default_factory=NoProgress)
    metrics: dict[str, float | str] = field(default_factory=dict)
    """Filled by the pass that is running; kept in the program's history. Deterministic figures only, but for
    the times of a profile."""
    warn: Callable[[str], None] = lambda message: None
    """Tells the user something that is no error."""


def option(default: Any = dataclasses.MISSING, *, help: str, file: bool = False) -> Any:
    """Declare an option of a pass.

    Args:
        default: Its default; without one the option must be given.
        help: One line for ``edgecut passes``.
        file: The value is the path of a file or folder, whose content the result depends on.
    """
    return field(default=default, metadata={"help": help, "file": file})


@dataclass(frozen=True)
class Pass:
    """Base of all passes."""

    name: ClassVar[str]
    """As in the pipeline text, and as its entry point is called."""
    version: ClassVar[int] = 1
    """Raised whenever the same input may give another result: it is part of the cache key."""
    cacheable: ClassVar[bool] = False
    """The result depends on nothing but the program, the options and the files they name."""
    numeric: ClassVar[bool] = False
    """The pass is expected to change what the model computes (quantize, prune)."""

    def files(self) -> list[Path]:
        """Files and folders, besides the program, that the result depends on: the options declared so."""
        values = [getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata.get("file")]
        return [Path(value) for value in values if value is not None]

    def check_before(self, program: Program) -> None:
        """Raise an `EdgecutError` where the program is not what this pass needs."""

    def run(self, program: Program, context: Context) -> Program:
        """Do the work. The program belongs to the pass, which may change it in place and return it.

        Raises:
            EdgecutError: The pass cannot be done; the message says why and what to do.
        """
        raise NotImplementedError

    def check_after(self, program: Program) -> None:
        """Raise an `EdgecutError` where the result is not what this pass promises."""
