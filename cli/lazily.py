"""Puts off what dependencies import and hardly ever use: the start of a command is mostly imports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

MODULES = frozenset(
    ("sympy", "onnx_ir._symbolic_shapes", "google.protobuf.json_format", "google.protobuf.text_format")
)
"""onnx_ir uses the first two for arithmetic on symbolic dimensions, which no program here has once it is
imported: together a quarter of a second. onnx uses the others for models that are written as text."""


def install() -> None:
    """Let these modules be loaded when an attribute of theirs is first used."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    # Not derived from importlib.abc.MetaPathFinder, whose module imports what takes as long as typer.

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in MODULES else None
        if spec is None or spec.loader is None:
            return None
        spec.loader = LazyLoader(spec.loader)
        return spec
