"""A tester that walks the real stages and reads like the pipeline."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgecut.ir import sessions
from edgecut.ir.annotations import Cut
from edgecut.ir.extract import named_cut
from edgecut.ir.program import Program
from edgecut.targets import tflite
from edgecut.targets.tflite import verify
from edgecut.targets.tflite.backend import Emitted

Array = NDArray[Any]
EXAMPLES = int(os.environ.get("EXAMPLES", "30"))
"""How many draws each family of operators is tried with."""


class Tester:
    """One model on its way through the back end: ``tester(model).lower().count("CONV_2D", 1).compare()``."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.program = Program.from_proto(onnx.shape_inference.infer_shapes(model))
        self.emitted: Emitted | None = None
        self.cut = named_cut(self.program, "edge-only")

    def lower(self, cut: Cut | None = None) -> Tester:
        self.cut = cut or self.cut
        self.emitted = tflite.emit(self.program, [self.cut])
        return self

    @property
    def operators(self) -> Counter[str]:
        from ai_edge_litert import schema_py_generated as schema

        assert self.emitted is not None
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(self.emitted.data))
        names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
        codes = [names[c.builtinCode] for c in model.operatorCodes]
        return Counter(codes[op.opcodeIndex] for g in model.subgraphs for op in g.operators)

    @property
    def versions(self) -> dict[str, list[int]]:
        """Versions of each operator that the file needs, in order."""
        from ai_edge_litert import schema_py_generated as schema

        assert self.emitted is not None
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(self.emitted.data))
        names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
        found: dict[str, list[int]] = {}
        for code in sorted(model.operatorCodes, key=lambda c: int(c.version)):
            found.setdefault(names[code.builtinCode], []).append(int(code.version))
        return found

    def count(self, kind: str, expected: int) -> Tester:
        assert self.operators[kind] == expected, dict(self.operators)
        return self

    def only(self, **expected: int) -> Tester:
        assert self.operators == Counter(expected)
        return self

    def run(self, inputs: dict[str, Array] | None = None) -> dict[str, Array]:
        from ai_edge_litert.interpreter import Interpreter

        assert self.emitted is not None
        runner = Interpreter(model_content=self.emitted.data, num_threads=1).get_signature_runner("cut0")
        found: dict[str, Array] = runner(**(inputs or verify.noise(self.program)))
        return found

    def reference(self, inputs: dict[str, Array] | None = None) -> dict[str, Array]:
        import onnxruntime as ort

        options = sessions.options(optimize=False, quiet=True)
        session = ort.InferenceSession(self.program.bytes(), options, providers=["CPUExecutionProvider"])
        names = [spec.name for spec in self.program.outputs]
        results = session.run(None, inputs or verify.noise(self.program))
        return dict(zip(names, results, strict=True))

    # Both sides add in float32, each in its own order: 1e-4 of the largest value is far above that and far
    # below what a wrong kernel, padding or layout would give.
    def compare(
        self, inputs: dict[str, Array] | None = None, *, limit: float = 1e-4, least: float = 0.0
    ) -> Tester:
        made, expected = self.run(inputs), self.reference(inputs)
        for name, value in expected.items():
            assert made[name].shape == value.shape, name
            assert made[name].dtype == value.dtype, name
            if value.dtype.kind != "f":
                np.testing.assert_array_equal(made[name], value)
                continue
            scale = np.abs(value[np.isfinite(value)]).max(initial=least) or 1.0
            np.testing.assert_allclose(made[name], value, rtol=limit, atol=limit * scale)
        return self

    def groups(self) -> list[tuple[str, ...]]:
        return [g.nodes for g in tflite.fusion_groups(self.program)]

    def reasons(self) -> dict[str, str]:
        return {g.nodes[-1]: g.reason for g in tflite.fusion_groups(self.program) if g.reason is not None}


Node = onnx.NodeProto


def build(
    nodes: Sequence[Node],
    inputs: dict[str, Any],
    outputs: Sequence[str] | dict[str, Any],
    constants: dict[str, Array] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model; inputs are shapes (float32) or ``(shape, onnx type)``; output types are inferred."""

    def info(name: str, spec: Any) -> onnx.ValueInfoProto:
        shape, kind = (
            spec if isinstance(spec, tuple) and spec and isinstance(spec[0], (list, tuple)) else (spec, 1)
        )
        return helper.make_tensor_value_info(name, kind, shape)

    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    results = [helper.make_empty_tensor_value_info(n) for n in outputs]
    graph = helper.make_graph(nodes, "test", [info(k, v) for k, v in inputs.items()], results, weights)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model)
    if all(o.type.WhichOneof("value") for o in inferred.graph.output):
        return inferred
    for i, name in enumerate(outputs):
        spec = outputs[name] if isinstance(outputs, dict) else None
        if spec is not None:
            model.graph.output[i].CopyFrom(info(name, spec))
    return model


@pytest.fixture(scope="session")
def tester() -> Callable[[onnx.ModelProto], Tester]:
    return Tester


@pytest.fixture(scope="session")
def model() -> Callable[..., onnx.ModelProto]:
    return build


@pytest.fixture(scope="session")
def load() -> Callable[[Path], Tester]:
    return lambda path: Tester(onnx.load(str(path)))


INT64 = TensorProto.INT64


Family = Callable[[Callable[[Any], Any]], dict[str, Any]]
"""Draws the fields of a `Case`."""


@dataclass
class Case:
    """A node with the numbers that it gets; any but the first input may become constant, ``fixed`` ones do.

    What the back end refuses it must refuse with a reason that begins with one of ``refusals``.
    """

    node: onnx.NodeProto
    arrays: dict[str, Array]
    fixed: Sequence[str] = ()
    refusals: Sequence[str] = ()
    opset: int = 21
    computed: Sequence[str] = ()
    """Those that are never constant."""
    limit: float = 1e-4
    least: float = 0.0
    """How large numbers on the way to a smaller result may be, whose rounding is in it."""


def _run_case(case: Case, draw: Callable[[Any], Any]) -> None:
    from hypothesis import event, reject
    from hypothesis import strategies as st
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    case.arrays = {name: np.asarray(a) for name, a in case.arrays.items()}
    _, *later = case.arrays
    loose = [n for n in later if n not in (*case.fixed, *case.computed)]
    known = {n: case.arrays[n] for n in (*case.fixed, *(n for n in loose if draw(st.booleans())))}
    given = {n: a for n, a in case.arrays.items() if n not in known}
    inputs = {n: (list(a.shape), helper.np_dtype_to_tensor_dtype(a.dtype)) for n, a in given.items()}
    test = Tester(build([case.node], inputs, [n for n in case.node.output if n], known, case.opset))
    try:
        test.reference(given)
    except (errors.NotImplemented, errors.InvalidGraph, errors.Fail, errors.RuntimeException) as error:
        event(f"no kernel in ONNX Runtime: {case.node.op_type} {str(error)[:60]}")
        reject()  # for these types ONNX Runtime itself has no kernel
    reasons = list(test.reasons().values())
    if reasons:
        assert any(reasons[0].startswith(r) for r in case.refusals), (reasons[0], case)
        return
    test.lower().compare(given, limit=case.limit, least=case.least)


@pytest.fixture(scope="session")
def examples() -> int:
    """How many examples property tests of operators draw; `make fuzz` wants more."""
    return EXAMPLES


@pytest.fixture(scope="session")
def any_case() -> Callable[[Family], None]:
    """Runs a family of operators with numbers, shapes and attributes as they come."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    def run(family: Family) -> None:
        @settings(
            max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(data=st.data())
        def check(data: Any) -> None:
            _run_case(Case(**family(data.draw)), data.draw)

        check()

    return run
