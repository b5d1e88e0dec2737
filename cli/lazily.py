"""Puts off what dependencies import and hardly ever use: the start of a command is mostly imports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

MODULES = frozenset(("sympy", "onnx_ir._symbolic_shapes"))
"""onnx_ir uses these for arithmetic on symbolic dimensions, which no program here has once it is imported.
Together they are a quarter of a second."""


def install() -> None:
    """Let these modules be loaded when an attribute of theirs is first used."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in MODULES else None
        if spec is None or spec.loader is None:
            return None
        spec.loader = LazyLoader(spec.loader)
        return spec
