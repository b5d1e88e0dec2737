"""The generated networks, as files, and quantized as `convert` does it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.ir.program import Program
from edgecut.passes import recipes
from edgecut.passes.base import Context

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="session")
def networks(root: Path) -> Path:
    """A folder with all of them, made by torch and Keras once per version of what makes them."""
    pytest.importorskip("torch")
    pytest.importorskip("keras")
    sys.path.insert(0, str(root / "fixtures" / "networks"))
    try:
        import cache  # type: ignore[import-not-found]
        import catalogue  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    folder: Path = cache.files(list(catalogue.NETWORKS), small=True)
    return folder


@dataclass(frozen=True)
class Quantized:
    """A network on integers: the program, one sample for it, and the file that it becomes."""

    program: Program
    sample: dict[str, Array]
    data: bytes

    def in_litert(self) -> dict[str, Array]:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=self.data, num_threads=1)
        made: dict[str, Array] = interpreter.get_signature_runner("serving_default")(**self.sample)
        return made


@pytest.fixture(scope="session")
def int8(networks: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Quantized]:
    """Makes a network's int8 file, once."""
    return functools.cache(lambda name: _quantized(networks, tmp_path_factory.mktemp(name), name, "int8"))


@pytest.fixture(scope="session")
def int16x8(networks: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Quantized]:
    """The same with activations of 16 bits."""
    return functools.cache(lambda name: _quantized(networks, tmp_path_factory.mktemp(name), name, "int16x8"))


def _quantized(networks: Path, folder: Path, name: str, scheme: str) -> Quantized:
    model = next(p for p in (networks / f"{name}.onnx", networks / f"{name}.keras") if p.exists())
    path, samples = folder / "m.tflite", folder / "samples.npz"
    importing, *rest = recipes.convert(recipes.Source(model, calibration=samples), path, scheme)
    program = importing.run(Program.empty(), Context())
    with np.load(networks / f"{name}.npz") as stored:
        # Keras numbers the names of its inputs as they are made, so they go by their order.
        arrays = dict(zip([spec.name for spec in program.inputs], stored.values(), strict=True))
    np.savez(samples, allow_pickle=False, **arrays)
    for item in rest:
        program = item.run(program, Context())
    return Quantized(program, {k: v[:1] for k, v in arrays.items()}, path.read_bytes())
