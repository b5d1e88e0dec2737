"""Builds made by the real passes from the trained fixture, and servers for them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime as ort
import pytest

from edgecut.ir import annotations as notes
from edgecut.ir import files, store
from edgecut.ir.annotations import CutFigures, Plan, Profile, Reference, Source, Time
from edgecut.ir.extract import named_cut
from edgecut.ir.program import Program
from edgecut.passes.base import Context, Pass
from edgecut.passes.emit.onnx import EmitOnnx
from edgecut.passes.emit.tflite import EmitTflite
from edgecut.passes.manifest.manifest import WriteManifest
from edgecut.runtime import serving

MakeBuild = Callable[..., Path]


@dataclass(frozen=True)
class Digits:
    """Held-out images as the model takes them, float32 [n, 1, 1, 32, 32], and their labels."""

    images: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="session")
def digits(root: Path) -> Digits:
    with np.load(root / "fixtures" / "digits_test.npz") as found:
        pixels = found["input"].transpose(0, 3, 1, 2)[:, None]
        return Digits((pixels.astype(np.float32) - 127.5) / 127.5, found["labels"])


@pytest.fixture(scope="session")
def truth(root: Path, digits: Digits) -> np.ndarray:
    """The imported model's logits for the first 20 images, by ONNX Runtime; float32 [20, 1, 10]."""
    session = ort.InferenceSession(root / "fixtures" / "digits.onnx", providers=["CPUExecutionProvider"])
    return np.stack([session.run(["logits"], {"input": image})[0] for image in digits.images[:20]])


@pytest.fixture(scope="session")
def make_build(root: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeBuild:
    """A function from names of cuts to a build of the digits model that holds them."""

    def make(*cuts: str) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGECUT_CACHE", str(tmp_path_factory.mktemp("store")))
            return build(*cuts)

    def build(*cuts: str) -> Path:
        output = tmp_path_factory.mktemp("build")
        source = root / "fixtures" / "digits.onnx"
        program = Program.load(source)
        notes.put(program.model, Source(source.name, files.sha256(source), "onnx"))
        notes.put(program.model, Reference(store.put(program)))
        notes.put(program.model, Profile("here", "here", Time(1e-3, "measured"), Time(1e-4, "measured")))
        figures = tuple(_figures(program, name) for name in cuts)
        notes.put(program.model, Plan("latency", "lan", 10.0, 10.0, 0.001, figures))
        context = Context(output)
        for item in (*_edge_passes(cuts), EmitOnnx(), WriteManifest()):
            program = item.run(program, context)
        return output

    return make


@pytest.fixture(scope="session")
def trace_world(root: Path) -> ModuleType:
    """The virtual device, link and server of the benchmarks."""
    spec = importlib.util.spec_from_file_location("trace_world", root / "benchmarks" / "trace_world.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["trace_world"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cloud_build(make_build: MakeBuild) -> Path:
    """A build whose only cut leaves the edge nothing to do."""
    return make_build("cloud-only")


@pytest.fixture(scope="session")
def cloud_url(cloud_build: Path) -> Iterator[str]:
    """A running server for it."""
    with serving.background([cloud_build]) as url:
        yield url


def _figures(program: Program, name: str) -> CutFigures:
    return CutFigures(named_cut(program, name), 1e-3, 1e-4, 256, 40, 0.01)


def _edge_passes(cuts: tuple[str, ...]) -> list[Pass]:
    if set(cuts) == {"cloud-only"}:
        return []
    return [EmitTflite()]
