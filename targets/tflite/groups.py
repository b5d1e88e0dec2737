"""Fusion groups: the sets of ONNX nodes that the edge runs as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecut.ir.extract import duplicable_nodes
from edgecut.ir.program import Program
from edgecut.targets.tflite.lir import Op


@dataclass(frozen=True)
class FusionGroup:
    """Nodes that become the same TFLite operators, and are never cut apart."""

    nodes: tuple[str, ...]
    """Names, in topological order."""
    reason: str | None = None
    """Why the edge cannot run it; None where it can."""


def find(program: Program, ops: list[Op], reasons: dict[str, str]) -> list[FusionGroup]:
    """Groups of a lowered program, in topological order of their last nodes.

    Nodes that share a TFLite operator belong together, and so does what lies on a way between them.
    """
    free = duplicable_nodes(program)
    nodes = [n for n in program.nodes if n not in free]
    number = {n.name or "": i for i, n in enumerate(nodes)}
    pairs = [(i, j) for op in ops for i, j in _neighbours(op, number)]
    reads = _reads(program, number)
    component = _convex(len(nodes), pairs, reads)
    members: dict[int, list[str]] = {}
    for name, index in number.items():
        members.setdefault(int(component[index]), []).append(name)
    groups = [FusionGroup(tuple(names), _reason(names, reasons)) for names in members.values()]
    return sorted(groups, key=lambda g: number[g.nodes[-1]])


def _neighbours(op: Op, number: dict[str, int]) -> list[tuple[int, int]]:
    found = sorted(number[s] for s in op.sources if s in number)
    return list(zip(found, found[1:], strict=False))


def _reads(program: Program, number: dict[str, int]) -> list[tuple[int, int]]:
    """Data dependences between nodes, seen through duplicable ones."""
    makers: dict[object, set[int]] = {}
    found: list[tuple[int, int]] = []
    for node in program.nodes:
        before = set().union(*(makers.get(v, set()) for v in node.inputs))
        index = number.get(node.name or "")
        if index is not None:
            found += [(i, index) for i in sorted(before)]
            before = {index}
        makers.update(dict.fromkeys(node.outputs, before))
    return found


def _convex(count: int, pairs: list[tuple[int, int]], reads: list[tuple[int, int]]) -> np.ndarray:
    """Join the pairs, then whatever forms a cycle between joined nodes."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    both = pairs + [(j, i) for i, j in pairs] + reads
    if not both:
        return np.arange(count)
    rows, columns = zip(*both, strict=True)
    graph = csr_array((np.ones(len(both), np.int8), (rows, columns)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=True, connection="strong")[1])


def _reason(names: list[str], reasons: dict[str, str]) -> str | None:
    return next((f"{name}: {reasons[name]}" if len(names) > 1 else reasons[name] for name in names if name in reasons), None)
