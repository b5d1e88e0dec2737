"""Hand-annotated programs: a graph written as one line per node, with its costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as oir
import pytest

from edgecut.ir import annotations
from edgecut.ir.annotations import CloudOnly, Cost, Group, Profile, Time
from edgecut.ir.program import Program


@dataclass(frozen=True)
class Node:
    """One node: the tensor it makes, those it reads, its bytes, its seconds on either side."""

    name: str
    reads: tuple[str, ...]
    size: int = 4
    edge: float | None = 1.0
    cloud: float | None = 0.1
    group: str | None = None
    op: str = "Add"


Build = Callable[..., Program]


def build(nodes: Sequence[Node], outputs: Sequence[str], inputs: dict[str, int] | None = None) -> Program:
    """A profiled program; every tensor is uint8, so its shape is its bytes.

    Node ``a`` makes tensor ``a``. A node without a group is one of its own; only the last node of a group
    carries its cost. DequantizeLinear nodes get a scale and carry nothing.
    """
    sizes = {"x": 100} if inputs is None else inputs
    values = {name: _value(name, size) for name, size in sizes.items()}
    graph_inputs = list(values.values())
    scale = oir.Value(name="scale", shape=oir.Shape([]), type=oir.TensorType(oir.DataType.FLOAT))
    scale.const_value = oir.tensor(0.5, dtype=oir.DataType.FLOAT, name="scale")
    made = []
    for n in nodes:
        values[n.name] = _value(n.name, n.size)
        reads = [values[r] for r in n.reads] + ([scale] if n.op == "DequantizeLinear" else [])
        made.append(oir.node(n.op, reads, outputs=[values[n.name]], name=n.name))
    graph = oir.Graph(
        graph_inputs,
        [values[o] for o in outputs],
        nodes=made,
        initializers=[scale],
        name="g",
        opset_imports={"": 17},
    )
    program = Program(oir.Model(graph, ir_version=10))
    _annotate(program, nodes)
    return program


def _annotate(program: Program, nodes: Sequence[Node]) -> None:
    annotations.put(program.model, Profile("board", "server"))
    placed = [n for n in nodes if n.op != "DequantizeLinear"]
    last = {n.group or n.name: n.name for n in placed}
    for node, n in zip((x for x in program.nodes if x.op_type != "DequantizeLinear"), placed, strict=True):
        annotations.put(node, Group(last[n.group or n.name]))
        if last[n.group or n.name] == n.name:
            annotations.put(node, Cost(_time(n.edge), _time(n.cloud)))
        if n.edge is None:
            annotations.put(node, CloudOnly("no kernel"))


def _value(name: str, size: int) -> oir.Value:
    return oir.Value(name=name, shape=oir.Shape([size]), type=oir.TensorType(oir.DataType.UINT8))


def _time(seconds: float | None) -> Time | None:
    return None if seconds is None else Time(seconds, "predicted")


@pytest.fixture(scope="session")
def make() -> Build:
    """Builds a profiled program from `Node` lines."""
    return build


@pytest.fixture(scope="session")
def node() -> type[Node]:
    """One line of a program."""
    return Node


@pytest.fixture
def chain(make: Build) -> Program:
    """x(100 bytes) -> a(1000) -> b(10) -> c(4): the edge is ten times slower, b is small."""
    return make([Node("a", ("x",), 1000), Node("b", ("a",), 10), Node("c", ("b",), 4)], ["c"])
