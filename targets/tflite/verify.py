"""LiteRT against ONNX Runtime, group by group: where a file first computes something else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir import extract, sessions
from edgecut.ir.annotations import Cut
from edgecut.ir.program import Program, static_shape
from edgecut.targets.tflite import backend, lir, pack

Array = NDArray[Any]

FLOAT_LIMIT = 1e-4
"""Largest difference over largest magnitude. Both sides add in float32, each in its own order."""
INTEGER_LIMIT = 1e-3
"""Share of quantized values that may differ by more than one step, or with 16 bits one for each rounding."""


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
            found[spec.name] = random.integers(0, 2 if spec.dtype == "bool" else 100, shape).astype(
                spec.dtype
            )
    return found


def groups(program: Program, cut: Cut, inputs: dict[str, Array]) -> Iterator[Check]:
    """Compare every group that the edge runs under a cut, each on what ONNX Runtime computed before it.

    Args:
        program: The whole program.
        cut: Which of its groups.
        inputs: One sample for each graph input.

    Yields:
        The groups in topological order, one check per value that leaves them.
    """
    lowered = backend.lower(program)
    parts = _parts(program, cut, lowered)
    if not parts:
        return
    watched = [n for part in parts for n in (*part.reads, *part.makes) if n not in inputs]
    reference = inputs | _onnxruntime(program, list(dict.fromkeys(watched)), inputs)
    runner = _Runner(program, lowered, parts)
    for number, part in enumerate(parts):
        made = runner.run(number, {name: reference[name] for name in (*inputs, *part.reads)})
        if len(part.inside) == 1:
            for name in part.makes:
                yield _compare(name, part, made[name], runner.held(name, reference[name]))
            continue
        # Of groups that are run as one, each is judged by what those before it gave: what they round
        # otherwise than ONNX Runtime does grows on the way, and is not its fault.
        known = {name: reference[name] for name in (*inputs, *part.reads)}
        known |= {name: runner.as_in_program(name, made[name]) for name in part.makes}
        for group in _seen(part, set(made)):
            names = [name for name in group.makes if name in made]
            before = {name: value for name, value in known.items() if name not in names}
            for name, value in _onnxruntime(program, names, before).items():
                yield _compare(name, group, made[name], runner.held(name, value))


@dataclass(frozen=True)
class _Part:
    """A group with the values that it reads from other groups and makes for them."""

    nodes: tuple[str, ...]
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    roundings: int
    """How often it rounds to integers on the way."""
    inside: tuple[_Part, ...] = ()
    """The groups that it joins."""


def _parts(program: Program, cut: Cut, lowered: backend.Lowered) -> list[_Part]:
    edge = {n.name or "" for n in extract.edge_nodes(program, cut)}
    found = [g.nodes for g in backend.groups_of(program, lowered) if set(g.nodes) <= edge]
    by_name = {n.name or "": n for n in program.nodes}
    joined = _joined(lowered, found, program, by_name)
    owner = {name: number for number, nodes in enumerate(joined) for name in nodes}
    inside: list[list[_Part]] = [[] for _ in joined]
    for nodes in found:
        inside[owner[nodes[0]]].append(_part(program, nodes, by_name))
    return [
        replace(_part(program, nodes, by_name), inside=tuple(own))
        for nodes, own in zip(joined, inside, strict=True)
    ]


def _part(program: Program, nodes: tuple[str, ...], by_name: dict[str, oir.Node]) -> _Part:
    inside, outputs = {by_name[name] for name in nodes}, set(program.graph.outputs)
    made = [v for name in nodes for v in by_name[name].outputs]
    leaving = [v for v in made if v in outputs or any(u.node not in inside for u in v.uses())]
    reads = [v for node in inside for v in _sources(node) if v.producer() not in inside]
    names = sorted({v.name or "" for v in reads} - {spec.name for spec in program.inputs})
    rounding = sum(by_name[name].op_type == "QuantizeLinear" for name in nodes)
    return _Part(nodes, tuple(names), tuple(v.name or "" for v in leaving), rounding)


def _joined(
    lowered: backend.Lowered, found: list[tuple[str, ...]], program: Program, by_name: dict[str, oir.Node]
) -> list[tuple[str, ...]]:
    """Groups with those before them whose results have no tensor of their own in the file."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    owner = {name: i for i, nodes in enumerate(found) for name in nodes}
    plain = [_part(program, nodes, by_name) for nodes in found]
    maker = {value: i for i, part in enumerate(plain) for value in part.makes}
    held = lowered.graph.values
    made = [[held[v] for v in part.makes if v in held] for part in plain]
    every = {t for tensors in made for t in tensors}
    shared = {
        (owner[source], i)
        for i, tensors in enumerate(made)
        for op in lir.order(tensors, stop=every - set(tensors))
        for source in op.sources
        if source in owner
    }
    reads = {(maker[value], i) for i, part in enumerate(plain) for value in part.reads if value in maker}
    # What lies on a way between joined groups joins them.
    pairs = [*shared, *((j, i) for i, j in shared), *reads]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    graph = csr_array((np.ones(len(pairs), np.int8), (rows, columns)), shape=(len(found), len(found)))
    component = connected_components(graph, directed=True, connection="strong")[1]
    members: dict[int, list[str]] = {}
    for i, nodes in enumerate(found):
        members.setdefault(int(component[i]), []).extend(nodes)
    return [tuple(names) for names in members.values()]


def _sources(node: oir.Node) -> Iterator[oir.Value]:
    """What a node reads that has to be computed, through duplicable nodes."""
    for value in node.inputs:
        producer = value.producer() if value is not None else None
        if value is None or extract.is_constant(value):
            continue
        if producer is not None and extract.is_duplicable(producer):
            yield from _sources(producer)
        else:
            yield value


class _Runner:
    """A file with one signature per group, in LiteRT."""

    def __init__(self, program: Program, lowered: backend.Lowered, parts: Sequence[_Part]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.program = program
        self.lowered = lowered
        names = [[n for n in part.reads if n in lowered.graph.values] for part in parts]
        signatures = [
            backend.signature(program, lowered, f"g{i}", part.makes, given)
            for i, (part, given) in enumerate(zip(parts, names, strict=True))
        ]
        self.keys = [list(s.inputs) for s in signatures]
        data = pack.pack(signatures, {}, {})
        self.interpreter = Interpreter(model_content=data, num_threads=1)

    def run(self, number: int, values: dict[str, Array]) -> dict[str, Array]:
        runner = self.interpreter.get_signature_runner(f"g{number}")
        taken: dict[str, Array] = runner(**{n: self.held(n, values[n]) for n in self.keys[number]})
        return taken

    def held(self, name: str, value: Array) -> Array:
        """A value as the lowered graph holds it."""
        perm = self.lowered.graph.perms.get(name)
        value = value.view(np.dtype(value.dtype.name))  # C has two names for int64, of which LiteRT knows one
        return np.ascontiguousarray(value.transpose(perm)) if perm else value

    def as_in_program(self, name: str, value: Array) -> Array:
        """A value of the lowered graph in the program's own order."""
        perm = self.lowered.graph.perms.get(name)
        turned = value.transpose(np.argsort(perm)) if perm else value
        shape = static_shape(self.program.value(name))
        return np.ascontiguousarray(turned if shape is None else turned.reshape(shape))


def _seen(part: _Part, made: set[str]) -> Iterator[_Part]:
    """The groups that a part joins, those whose results have no tensor together with who reads them."""
    hidden: dict[str, list[_Part]] = {}
    for group in part.inside:
        taken = [earlier for name in group.reads for earlier in hidden.get(name, ())]
        whole = list(dict.fromkeys([*taken, group]))
        hidden |= {name: whole for name in group.makes if name not in made}
        if made & set(group.makes):
            nodes = tuple(name for each in whole for name in each.nodes)
            yield replace(group, nodes=nodes, roundings=sum(each.roundings for each in whole))


def _onnxruntime(program: Program, names: list[str], inputs: dict[str, Array]) -> dict[str, Array]:
    import onnxruntime as ort

    watched = extract.subgraph(program, list(inputs), names, "verify")
    # Not optimized: then each node computes what it says, whatever the processor. Its fused integer kernels
    # round elsewhere, and weights of few bits make it round activations too.
    options = sessions.options(optimize=False, quiet=True)
    session = ort.InferenceSession(watched.bytes(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, inputs), strict=True))


def _compare(name: str, part: _Part, edge: Array, reference: Array) -> Check:
    difference = np.abs(edge.astype(np.float64) - reference.astype(np.float64).reshape(edge.shape))
    if np.issubdtype(reference.dtype, np.floating):
        largest = float(np.abs(reference).max(initial=0.0)) or 1.0
        return Check(name, part.nodes, float(difference.max(initial=0.0)) / largest, FLOAT_LIMIT, exact=False)
    steps = {"int8": 1, "uint8": 1, "int16": max(part.roundings, 1)}.get(reference.dtype.name, 0)
    share = float((difference > steps).mean()) if difference.size else 0.0
    return Check(name, part.nodes, share, INTEGER_LIMIT, exact=True)
