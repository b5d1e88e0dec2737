"""The fusion groups of a program as the profile pass sees them: their work, and their fingerprint."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as oir

from edgecut.ir import annotations, work
from edgecut.ir.annotations import CloudOnly, Cost, Group
from edgecut.ir.program import Program, tensor_spec
from edgecut.ir.work import Work
from edgecut.targets.spec import Device


@dataclass(frozen=True)
class Grouped:
    """One fusion group: nodes that the edge runs as one."""

    id: str
    nodes: tuple[oir.Node, ...]
    work: Work
    shape_key: str
    reason: str | None
    """Why the edge cannot run it; None where it can."""


def find(program: Program, edge: Device) -> list[Grouped]:
    """All groups of a program in topological order, with what the edge device cannot run marked."""
    from edgecut.targets.tflite import fusion_groups

    by_name = {n.name: n for n in program.nodes}
    found = []
    for group in fusion_groups(program):
        nodes = tuple(by_name[name] for name in group.nodes)
        reason = group.reason or _unsupported(nodes, edge)
        found.append(Grouped(group.nodes[-1], nodes, work.group(nodes), shape_key(nodes), reason))
    return found


def costs(groups: Sequence[Grouped]) -> dict[str, Cost]:
    """The costs that are still true: of groups that have not changed since they were profiled."""
    found = {g.id: annotations.get(g.nodes[-1], Cost) for g in groups}
    return {g.id: cost for g in groups if (cost := found[g.id]) is not None and cost.shape_key == g.shape_key}


def annotate(program: Program, groups: Sequence[Grouped], costs: dict[str, Cost]) -> None:
    """Write groups, their costs and what only the cloud can run, in place of what was there."""
    for node in program.nodes:
        for kind in (Group, CloudOnly, Cost):
            annotations.drop(node, kind)
    for group in groups:
        for node in group.nodes:
            annotations.put(node, Group(group.id))
            if group.reason is not None:
                annotations.put(node, CloudOnly(group.reason))
        macs, weights = group.work.macs, group.work.weight_bytes
        cost = replace(costs[group.id], macs=macs, weight_bytes=weights, shape_key=group.shape_key)
        annotations.put(group.nodes[-1], cost)


def shape_key(nodes: Sequence[oir.Node]) -> str:
    """Fingerprint of what decides the time of a group: operators, attributes, shapes and types.

    Names and the values of weights are not in it.
    """
    numbers: dict[oir.Value, int] = {}
    text = []
    for node in nodes:
        read = [_describe(v, numbers) for v in node.inputs]
        written = [_describe(v, numbers) for v in node.outputs]
        attributes = sorted(f"{a.name}={a.value}" for a in node.attributes.values() if not _is_graph(a))
        text.append(f"{node.domain}:{node.op_type}({read}){attributes}->{written}")
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]


def _describe(value: oir.Value | None, numbers: dict[oir.Value, int]) -> str:
    """A value without its name: its number in the group, type and shape, and the type it is stored in."""
    if value is None:
        return "-"
    spec = tensor_spec(value)
    stored = work.stored(value)
    kept = "" if stored is value else tensor_spec(stored).dtype
    number = numbers.setdefault(value, len(numbers))
    return f"{number}:{spec.dtype}{list(spec.shape)}{'c' if value.const_value is not None else ''}{kept}"


def _is_graph(attribute: oir.Attr) -> bool:
    return attribute.type in (oir.AttributeType.GRAPH, oir.AttributeType.GRAPHS)


def _unsupported(nodes: Sequence[oir.Node], edge: Device) -> str | None:
    if not edge.operators:
        return None
    missing = [n.op_type for n in nodes if n.op_type not in edge.operators]
    return f"{edge.name} has no {missing[0]}" if missing else None
