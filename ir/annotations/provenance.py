"""Where a program came from, and what was made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from edgecut.ir.annotations.base import Annotation, Level


@dataclass(frozen=True)
class Source(Annotation):
    """Where the model came from."""

    KEY: ClassVar[str] = "edgecut.source"
    LEVEL: ClassVar[Level] = "model"

    file: str
    """File name, without its folder."""
    sha256: str
    """Hash of the file (of all files in it, for a SavedModel folder)."""
    frontend: str


@dataclass(frozen=True)
class Step:
    """One pass that was run, as its pipeline text, and what it reported."""

    text: str
    version: int
    metrics: dict[str, float | str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """What it told the user, who is to see it again where the result comes from the cache."""


@dataclass(frozen=True)
class History(Annotation):
    """The passes that made this program, in order."""

    KEY: ClassVar[str] = "edgecut.history"
    LEVEL: ClassVar[Level] = "model"

    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Reference(Annotation):
    """The program that later numerics are compared with: as imported and preprocessed, in float."""

    KEY: ClassVar[str] = "edgecut.reference"
    LEVEL: ClassVar[Level] = "model"

    key: str
    """Its name in the store (`edgecut.ir.store`), which is its content hash."""


@dataclass(frozen=True)
class Origin(Annotation):
    """The nodes of the imported model that a rewritten node came from (absent: its own name)."""

    KEY: ClassVar[str] = "edgecut.origin"
    LEVEL: ClassVar[Level] = "node"

    nodes: tuple[str, ...]


@dataclass(frozen=True)
class AnyBatch(Annotation):
    """The artifacts take any number of samples at once."""

    KEY: ClassVar[str] = "edgecut.any_batch"
    LEVEL: ClassVar[Level] = "model"


@dataclass(frozen=True)
class Artifact:
    """A file that an emitting pass wrote, relative to the build directory."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Artifacts(Annotation):
    """Everything written so far for this program."""

    KEY: ClassVar[str] = "edgecut.artifacts"
    LEVEL: ClassVar[Level] = "model"

    files: tuple[Artifact, ...] = ()
