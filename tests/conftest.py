"""Fixtures that every test may use."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import onnx
import onnx_ir as oir
import pytest

from edgecut.ir import sessions
from edgecut.ir.program import Program

RunOnnx = Callable[[Program, dict[str, np.ndarray[Any, Any]]], dict[str, np.ndarray[Any, Any]]]

# On a busy machine drawing examples is slow, which says nothing about the code. `make test` draws the same
# examples each time: it fails because of the change under test only. `make fuzz` draws new ones, and more.
lenient = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("repeatable", lenient, derandomize=True)
hypothesis.settings.register_profile("fuzz", lenient, max_examples=1000)
hypothesis.settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT.parent / "shared" / "zoo"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository root."""
    return ROOT


@pytest.fixture(scope="session")
def zoo() -> Path:
    """Real trained models with real data, which stand beside the repository on some machines only."""
    if not ZOO.is_dir():
        pytest.skip("the model zoo is not on this machine")
    return ZOO


@pytest.fixture(scope="session", autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests, and the processes that they start, away from the user's store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGECUT_CACHE", str(tmp_path_factory.getbasetemp() / "store"))
        yield


@pytest.fixture
def residual() -> Program:
    """A small residual network, float32 [1,2,6,6] to [1,3], made of the operators that CNNs are made of."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) / 3, name)

    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        node("Add", ["c2", "r1"], ["a"], "add"),
        node("Relu", ["a"], ["r2"], "relu2"),
        node("GlobalAveragePool", ["r2"], ["g"], "pool"),
        node("Flatten", ["g"], ["f"], "flatten"),
        node("Gemm", ["f", "w3", "b3"], ["y"], "fc", transB=1),
    ]
    weights = [weight("w1", 4, 2, 3, 3), weight("b1", 4), weight("w2", 4, 4, 3, 3), weight("b2", 4)]
    weights += [weight("w3", 3, 4), weight("b3", 3)]
    floats = onnx.TensorProto.FLOAT
    x = onnx.helper.make_tensor_value_info("x", floats, [1, 2, 6, 6])
    y = onnx.helper.make_tensor_value_info("y", floats, [1, 3])
    graph = onnx.helper.make_graph(nodes, "residual", [x], [y], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    return Program.from_proto(onnx.shape_inference.infer_shapes(model))


@pytest.fixture(scope="session")
def run_onnx() -> RunOnnx:
    """Runs a program in ONNX Runtime: the numerical reference of every test."""

    def run(program: Program, feeds: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        import onnxruntime

        options = sessions.options()
        session = onnxruntime.InferenceSession(program.bytes(), options, providers=["CPUExecutionProvider"])
        names = [spec.name for spec in program.outputs]
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run


@pytest.fixture(scope="session")
def netlab() -> ModuleType:
    """Network namespaces with limited rates, where the machine allows that."""
    spec = importlib.util.spec_from_file_location("netlab", ROOT / "benchmarks" / "netlab.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules["netlab"] = found  # dataclasses look their module up
    spec.loader.exec_module(found)
    if reason := found.missing():
        pytest.skip(reason)
    return found


@pytest.fixture
def leave() -> Callable[..., Program]:
    """Removes so many channels of each group; ``masked``: zeroes all their weights, which is the same."""
    from edgecut.passes.prune import choose, rules, shrink

    def run(program: Program, counts: list[int], *, masked: bool = False) -> Program:
        copy = program.copy()
        groups = rules.groups(copy)
        gone = choose.channels(groups, [choose.by_magnitude(g, 2) for g in groups], counts)
        if not masked:
            shrink.remove(copy, gone)
            return copy
        for channel in gone:
            for (value, axis), at in channel.places:
                if value.const_value is not None:
                    array = np.array(value.const_value.numpy())
                    np.moveaxis(array, axis, 0)[list(at)] = 0
                    value.const_value = oir.tensor(array, name=value.name)
        return copy

    return run
