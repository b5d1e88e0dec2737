"""LiteRT against ONNX Runtime, group by group: where a file first computes something else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecut.ir import extract
from edgecut.ir.annotations import Cut, Wire
from edgecut.ir.program import Program
from edgecut.targets.tflite import backend

Array = NDArray[Any]

FLOAT_LIMIT = 1e-3
"""Largest difference over largest magnitude. Both sides add in float32 in their own order, which the test
models show to stay below 1e-4; a wrong kernel or layout is far above."""
INTEGER_LIMIT = 0.01
"""Share of quantized values that differ by more than one step, which rounding alone hardly does."""


@dataclass(frozen=True)
class Check:
    """The result of one group on both sides."""

    value: str
    nodes: tuple[str, ...]
    error: float
    limit: float
    exact: bool

    @property
    def ok(self) -> bool:
        """Whether both agree."""
        return self.error <= self.limit

    @property
    def text(self) -> str:
        """The difference in words."""
        return f"{self.error:.2%} of values" if self.exact else f"{self.error:.2g} of the largest"


def noise(program: Program) -> dict[str, Array]:
    """Seeded inputs: normal numbers for floats, and any byte for pixels."""
    random = np.random.default_rng(0)
    found: dict[str, Array] = {}
    for spec in program.inputs:
        shape = tuple(int(n) for n in spec.shape if isinstance(n, int))
        if np.issubdtype(np.dtype(spec.dtype), np.floating):
            found[spec.name] = random.normal(size=shape).astype(spec.dtype)
        else:
            found[spec.name] = random.integers(0, 2 if spec.dtype == "bool" else 100, shape).astype(spec.dtype)
    return found


def groups(program: Program, cut: Cut, inputs: dict[str, Array]) -> Iterator[Check]:
    """Compare the results of every group that the edge runs under a cut, in topological order.

    Args:
        program: The whole program.
        cut: Which of its groups.
        inputs: One sample for each graph input.
    """
    names = _results(program, cut)
    if not names:
        return
    own = [n for n in names if n in {spec.name for spec in program.outputs}]
    every = Cut("verify", tuple(n for n in names if n not in own), tuple(own))
    emitted = backend.emit(program, [every])
    edge = _litert(emitted.data, inputs)
    reference = _onnxruntime(program, list(names), inputs)
    for name, nodes in names.items():
        yield _compare(name, nodes, edge[name], reference[name], emitted.wire.get(name))


def _results(program: Program, cut: Cut) -> dict[str, tuple[str, ...]]:
    """Values that leave a group, with the group's nodes."""
    edge = {n.name for n in extract.edge_nodes(program, cut)}
    outputs = {v for v in program.graph.outputs}
    by_name = {n.name: n for n in program.nodes}
    found: dict[str, tuple[str, ...]] = {}
    for group in backend.fusion_groups(program):
        if not set(group.nodes) <= edge:
            continue
        inside = set(group.nodes)
        made = [v for name in group.nodes for v in by_name[name].outputs]
        leaving = [v for v in made if v in outputs or any(u.node.name not in inside for u in v.uses())]
        found.update({v.name or "": group.nodes for v in leaving})
    return found


def _litert(data: bytes, inputs: dict[str, Array]) -> dict[str, Array]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=data, num_threads=1).get_signature_runner("cut0")
    found: dict[str, Array] = runner(**inputs)
    return found


def _onnxruntime(program: Program, names: list[str], inputs: dict[str, Array]) -> dict[str, Array]:
    import onnxruntime as ort

    watched = extract.subgraph(program, [spec.name for spec in program.inputs], names, "verify")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(watched.bytes(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, inputs), strict=True))


def _compare(name: str, nodes: tuple[str, ...], edge: Array, reference: Array, wire: Wire | None) -> Check:
    expected = reference.transpose(wire.perm) if wire is not None and wire.perm else reference
    difference = np.abs(edge.astype(np.float64) - expected.astype(np.float64).reshape(edge.shape))
    if np.issubdtype(reference.dtype, np.floating):
        largest = float(np.abs(expected).max(initial=0.0)) or 1.0
        return Check(name, nodes, float(difference.max(initial=0.0)) / largest, FLOAT_LIMIT, exact=False)
    steps = 1 if reference.dtype.itemsize == 1 else 0
    share = float((difference > steps).mean()) if difference.size else 0.0
    return Check(name, nodes, share, INTEGER_LIMIT, exact=True)
