"""What all annotations have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

Side = Literal["edge", "cloud"]
Level = Literal["model", "node", "value"]


class Annotated(Protocol):
    """An `onnx_ir` model, node or value."""

    @property
    def metadata_props(self) -> dict[str, str]:
        """ONNX's own string properties."""
        ...


@dataclass(frozen=True)
class Annotation:
    """Base of all records; a subclass names its key and the level it is found on."""

    KEY: ClassVar[str]
    LEVEL: ClassVar[Level]
