"""Builds made by the real passes from the trained fixture, and servers for them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgecut.ir import annotations as notes
from edgecut.ir import files, store
from edgecut.ir.annotations import CutFigures, Plan, Profile, Reference, Source, Time
from edgecut.ir.extract import named_cut
from edgecut.ir.program import Program
from edgecut.passes.base import Context, Pass
from edgecut.passes.emit.onnx import EmitOnnx
from edgecut.passes.emit.open_batch import OpenBatch
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

    def make(*cuts: str, any_batch: bool = False) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGECUT_CACHE", str(tmp_path_factory.mktemp("store")))
            return build(*cuts, any_batch=any_batch)

    def build(*cuts: str, any_batch: bool) -> Path:
        output = tmp_path_factory.mktemp("build")
        source = root / "fixtures" / "digits.onnx"
        program = Program.load(source)
        notes.put(program.model, Source(source.name, files.sha256(source), "onnx"))
        figures = tuple(_figures(program, name) for name in cuts)
        emit(program, Plan("latency", "lan", 10.0, 10.0, 0.001, figures), output, any_batch=any_batch)
        return output

    return make


def emit(program: Program, plan: Plan, output: Path, *, any_batch: bool = False) -> None:
    """Leave the build of a planned program in a folder."""
    notes.put(program.model, Reference(store.put(program)))
    notes.put(program.model, Profile("here", "here", Time(1e-3, "measured"), Time(1e-4, "measured")))
    notes.put(program.model, plan)
    context = Context(output)
    before = [OpenBatch()] if any_batch else []
    for item in (*before, *_edge_passes(tuple(c.cut.name for c in plan.cuts)), EmitOnnx(), WriteManifest()):
        program = item.run(program, context)


@pytest.fixture(scope="session")
def trace_world(root: Path) -> ModuleType:
    """The virtual device, link and server of the benchmarks."""
    return _module(root / "benchmarks" / "trace_world.py")


@pytest.fixture(scope="session")
def survive(root: Path) -> ModuleType:
    """The run in which everything fails."""
    return _module(root / "benchmarks" / "survive.py")


@pytest.fixture(scope="session")
def digits_builds(root: Path) -> ModuleType:
    """Makes builds that differ in their weights alone."""
    return _module(root / "benchmarks" / "digits_builds.py")


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def stepwise_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of which each of three cuts is the best at some bandwidth, on a slow device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGECUT_CACHE", str(tmp_path_factory.mktemp("store")))
        output = tmp_path_factory.mktemp("stepwise")
        program = _pyramid()
        notes.put(program.model, Source("pyramid.onnx", "0" * 64, "onnx"))
        given = (("r1", 0.1, 0.002, 32_768), ("edge-only", 0.3, 0.0, 0), ("cloud-only", 0.0, 0.003, 196_608))
        figures = []
        for name, edge_s, cloud_s, size in given:
            bands = {"r1": (1.3, 30.0), "edge-only": (0.0, 1.3), "cloud-only": (30.0, None)}
            cut = named_cut(program, name)
            figures.append(CutFigures(cut, edge_s, cloud_s, size, 40 if size else 0, 0.2, *bands[name]))
        emit(program, Plan("latency", "lan", 5.0, 5.0, 0.04, tuple(figures)), output)
        return output


def _pyramid() -> Program:
    """float32 [1,3,128,128] to [1,8,32,32], and from there to [1,10]."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 4, 4), "w2": (8, 8, 3, 3), "w3": (10, 8)}
    weights = [
        onnx.numpy_helper.from_array((rng.normal(size=shape) / 5).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], "conv1", strides=[4, 4]),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("Conv", ["r1", "w2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        node("Relu", ["c2"], ["r2"], "relu2"),
        node("GlobalAveragePool", ["r2"], ["g"], "pool"),
        node("Flatten", ["g"], ["f"], "flatten"),
        node("Gemm", ["f", "w3"], ["y"], "fc", transB=1),
    ]
    floats = onnx.TensorProto.FLOAT
    x = onnx.helper.make_tensor_value_info("x", floats, [1, 3, 128, 128])
    y = onnx.helper.make_tensor_value_info("y", floats, [1, 10])
    graph = onnx.helper.make_graph(nodes, "pyramid", [x], [y], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    return Program.from_proto(onnx.shape_inference.infer_shapes(model))


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
