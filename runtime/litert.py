"""The edge model in LiteRT, one callable per signature."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgecut.ir.errors import ModelError, TargetError
from edgecut.runtime.quiet import without_notices


class EdgeModel:
    """A loaded TFLite file.

    Args:
        path: The file.
        threads: CPU threads of its kernels.

    Raises:
        ModelError: LiteRT does not load it.
        TargetError: LiteRT is not installed.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self.path = path
        self._runners: dict[str, Any] = {}
        self._warm: set[str] = set()
        try:
            self._interpreter = _interpreter_class()(model_path=str(path), num_threads=threads)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"LiteRT does not load it: {error}", where=str(path)) from error

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a signature; names, shapes and types are those of the manifest.

        Raises:
            ModelError: The file has no such signature, or LiteRT cannot run it on these inputs.
        """
        runner = self._runner(signature)
        # Kernels are chosen, and the choice announced, in the first run of a signature.
        first = signature not in self._warm
        try:
            with without_notices() if first else contextlib.nullcontext():
                found: dict[str, np.ndarray] = runner(**inputs)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"LiteRT cannot run it: {error}", where=f"{self.path}, {signature}") from error
        self._warm.add(signature)
        return found

    def input_names(self, signature: str) -> list[str]:
        """Names of the inputs that a signature reads.

        Raises:
            ModelError: The file has no such signature.
        """
        return list(self._runner(signature).get_input_details())

    def _runner(self, signature: str) -> Any:
        if signature in self._runners:
            return self._runners[signature]
        try:
            runner = self._interpreter.get_signature_runner(signature)
        except ValueError as error:
            raise ModelError(f"has no signature {signature!r}", where=str(self.path)) from error
        return self._runners.setdefault(signature, runner)


def _interpreter_class() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        hint = "pip install ai-edge-litert"
        raise TargetError(f"LiteRT is not usable here: {error}", hint=hint) from error
    return Interpreter
