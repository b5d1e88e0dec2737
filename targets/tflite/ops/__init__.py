"""One module per operator or family; each lists the ONNX operators that it lowers in ``LOWERINGS``."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from edgecut.targets.tflite.ops.base import Lowering


@functools.cache
def table() -> dict[str, Lowering]:
    """How every ONNX operator is lowered, by its type (``domain.type`` outside the ONNX domain)."""
    found: dict[str, Lowering] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        lowerings = getattr(importlib.import_module(f"{__name__}.{module}"), "LOWERINGS", {})
        doubled = found.keys() & lowerings.keys()
        assert not doubled, f"{sorted(doubled)} are lowered twice, once in ops/{module}.py"
        found.update(lowerings)
    return found
