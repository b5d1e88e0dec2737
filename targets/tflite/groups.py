"""Fusion groups: the sets of ONNX nodes that the edge runs as one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

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
    pairs = [(i, j) for op in ops for i, j in _neighbours(op, number)] + _quantized(nodes, number)
    reads = _reads(program, number)
    component = _convex(len(nodes), pairs, reads)
    members: dict[int, list[str]] = {}
    for name, index in number.items():
        members.setdefault(int(component[index]), []).append(name)
    groups = [FusionGroup(tuple(names), _reason(names, reasons)) for names in members.values()]
    return sorted(groups, key=lambda g: number[g.nodes[-1]])


def _neighbours(op: Op, number: dict[str, int]) -> list[tuple[int, int]]:
    found = sorted(number[s] for s in op.sources if s in number)
    return list(itertools.pairwise(found))


def _quantized(nodes: list[oir.Node], number: dict[str, int]) -> list[tuple[int, int]]:
    """Nodes with the QuantizeLinear that alone reads them: what is sent should be the integers."""
    found = []
    for node in nodes:
        maker = node.inputs[0].producer() if node.op_type == "QuantizeLinear" and node.inputs[0] else None
        if maker is None or maker.name not in number or maker.outputs[0] is not node.inputs[0]:
            continue
        if len(node.inputs[0].uses()) == 1 and not node.inputs[0].is_graph_output():
            found.append((number[maker.name], number[node.name or ""]))
    return found


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
    found = next((name for name in names if name in reasons), None)
    if found is None or len(names) == 1:
        return None if found is None else reasons[found]
    return f"{found}: {reasons[found]}"
