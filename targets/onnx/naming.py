"""Names that the model repository, the manifest and the protocol share."""

from __future__ import annotations

import re
from pathlib import PurePath

from edgecut.ir import annotations as notes
from edgecut.ir.annotations import Source
from edgecut.ir.program import Program

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.-]+")


def model_name(program: Program) -> str:
    """Name of the whole model: its file without the suffix, safe as a folder and in a URL."""
    source = notes.get(program.model, Source)
    raw = PurePath(source.file).stem if source else program.graph.name
    return _FORBIDDEN.sub("_", raw or "").strip("._-") or "model"


def cloud_model_name(model: str, index: int) -> str:
    """Name of the cloud model of the plan's cut number ``index``."""
    return f"{model}_cut{index}"
