"""Hand-annotated programs: a graph written as one line per node, with its costs."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir
import pytest

from edgecut.ir import annotations
from edgecut.ir.annotations import CloudOnly, Cost, Group, Profile, Time
from edgecut.ir.program import Program
from edgecut.passes.partition.cuts import is_legal
from edgecut.passes.partition.problem import INPUT, Floats, Mask, Problem


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


def make_random_problem(count: int, rng: np.random.Generator) -> Problem:
    """A graph of several inputs and outputs, tensors with many readers, pins, ties, and free groups."""
    producer = [INPUT] * int(rng.integers(1, 3))
    reads: set[tuple[int, int]] = set()
    for group in range(count):
        reads |= {(int(t), group) for t in rng.integers(0, len(producer), rng.integers(1, 4))}
        producer += [group] * int(rng.integers(1, 3))
    used = sorted({tensor for tensor, _ in reads})
    index = {tensor: i for i, tensor in enumerate(used)}
    pairs = sorted((index[tensor], group) for tensor, group in reads)
    pinned = rng.random() < 0.5
    pin = rng.choice(list("-----ec") if pinned else ["-"], count)
    is_output = rng.random(count) < 0.4
    is_output[-1] = True
    return Problem(
        groups=tuple(f"g{i}" for i in range(count)),
        edge_s=_some(rng, [0.0, 0.1, 0.25, 0.5, 1.0], count),
        cloud_s=_some(rng, [0.0, 0.02, 0.1], count) / 2,
        must_edge=pin == "e",
        must_cloud=pin == "c",
        weights=rng.integers(0, 3, count) * 500,
        answer=np.where(is_output, rng.integers(0, 50, count), 0),
        tensors=tuple(f"t{t}" for t in used),
        size=np.ceil(_some(rng, [0.01, 0.1, 1.0], len(used)) * 1000).astype(np.int64),
        sealed=rng.random(len(used)) < (0.1 if pinned else 0.0),
        producer=np.array(producer)[used],
        read_tensor=np.array([t for t, _ in pairs], np.int64),
        read_group=np.array([g for _, g in pairs], np.int64),
        fixed_answer=int(rng.choice([0, 8])),
        reasons={f"g{i}": f"g{i} is pinned" for i, p in enumerate(pin) if p != "-"},
    )


def _some(rng: np.random.Generator, few: list[float], count: int) -> Floats:
    """Either figures of which many are equal, zero among them, or figures that all differ."""
    return rng.choice(few, count) if rng.random() < 0.5 else rng.random(count)


def list_every_legal(problem: Problem) -> list[Mask]:
    """By trying every assignment of sides."""
    sources, readers = problem.arcs
    masks = [np.array(bits, bool) for bits in itertools.product([False, True], repeat=len(problem.groups))]
    flows = [m for m in masks if not (m[sources] & ~m[readers]).any()]
    return [m for m in flows if is_legal(problem, m)]


@pytest.fixture(scope="session")
def random_problem() -> Callable[[int, np.random.Generator], Problem]:
    """Makes a random problem of so many groups."""
    return make_random_problem


@pytest.fixture(scope="session")
def every_legal() -> Callable[[Problem], list[Mask]]:
    """Lists the legal placements of a problem by brute force."""
    return list_every_legal
