"""What was found of artifacts that were emitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgecut.ir.annotations.base import Annotation, Level
from edgecut.ir.manifest import TensorRtRecord


@dataclass(frozen=True)
class CloudChecks(Annotation):
    """What was found of the cloud models that were emitted."""

    KEY: ClassVar[str] = "edgecut.cloud_checks"
    LEVEL: ClassVar[Level] = "model"

    tensorrt: tuple[TensorRtRecord, ...] = ()
