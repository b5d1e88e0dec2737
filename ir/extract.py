"""Subgraphs of a program: what computes some tensors from some others.

Nodes that cost nothing and may stand on both sides of a cut are copied into whichever subgraph needs
them: constants, shape arithmetic on constants, and the DequantizeLinear of a quantized tensor. A
quantized tensor therefore crosses as its integers, never as the float that comes after.
"""

from collections.abc import Iterable, Iterator, Sequence

import onnx_ir as oir

from edgecut.ir import annotations
from edgecut.ir.annotations import Cut
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program


def is_constant(value: oir.Value | None) -> bool:
    """Whether a value is known at compile time (an initializer, or computed from initializers only)."""
    seen: set[oir.Value] = set()
    stack = [value]
    while stack:
        found = stack.pop()
        if found is None or found.const_value is not None or found in seen:
            continue
        seen.add(found)
        node = found.producer()
        if node is None:
            return False
        stack.extend(reads(node))
    return True


def is_duplicable(node: oir.Node) -> bool:
    """Whether a node is free and may be copied to both sides of a cut."""
    if node.op_type == "DequantizeLinear":
        return True
    return all(is_constant(v) for v in reads(node))


def duplicable_nodes(program: Program) -> set[oir.Node]:
    """All duplicable nodes, found in one pass over the graph."""
    found: set[oir.Node] = set()
    known: set[oir.Value] = set()
    for node in program.nodes:
        constant = all(v is None or v.const_value is not None or v in known for v in reads(node))
        if constant:
            known.update(node.outputs)
        if constant or node.op_type == "DequantizeLinear":
            found.add(node)
    return found


def reads(node: oir.Node) -> Iterator[oir.Value | None]:
    """The inputs of a node, and what the bodies of an If, Loop or Scan read from around them."""
    yield from node.inputs
    for attribute in node.attributes.values():
        if attribute.type not in (oir.AttributeType.GRAPH, oir.AttributeType.GRAPHS):
            continue
        bodies = (
            attribute.as_graphs() if attribute.type == oir.AttributeType.GRAPHS else [attribute.as_graph()]
        )
        for body in bodies:
            yield from _captured(body)


def ancestors(values: Iterable[oir.Value]) -> set[oir.Node]:
    """All nodes that these values are computed by, directly or not."""
    seen: set[oir.Node] = set()
    stack = [v.producer() for v in values]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        stack.extend(v.producer() for v in reads(node) if v is not None)
    return seen


def edge_nodes(program: Program, cut: Cut) -> set[oir.Node]:
    """The nodes that the edge runs under a cut."""
    return ancestors(program.value(name) for name in (*cut.crossing, *cut.edge_outputs))


def crossing(program: Program, edge: set[oir.Node]) -> Cut:
    """The cut that a set of edge nodes makes; the set must hold the ancestors of its nodes.

    Crossing tensors are in topological order (graph inputs first), outputs in the graph's order.
    """
    free = duplicable_nodes(program)
    cloud = [n for n in program.nodes if n not in edge and n not in free]
    outputs = [v for v in program.graph.outputs if not _on_edge(v, edge)]
    needed = _sources((v for n in cloud for v in reads(n)), outputs, edge, free)
    order = {v: i for i, v in enumerate(program.values().values())}
    names = tuple(v.name or "" for v in sorted(needed, key=order.__getitem__))
    if not names:
        return Cut("edge-only", (), tuple(spec.name for spec in program.outputs))
    kept = tuple(v.name or "" for v in program.graph.outputs if _on_edge(v, edge))
    return Cut(cut_name(program, names, kept), names, kept)


def cut_name(program: Program, names: Sequence[str], edge_outputs: Sequence[str]) -> str:
    """``edge-only``, ``cloud-only``, or what the edge has to compute, joined by ``+``.

    That is the crossing tensors, then those graph outputs that are not computed on the way to them.
    """
    if not names:
        return "edge-only"
    if not edge_outputs and set(names) <= {spec.name for spec in program.inputs}:
        return "cloud-only"
    values = program.values()
    done = ancestors(values[name] for name in names)
    more = [o for o in edge_outputs if o not in names and not _on_edge(values[o], done)]
    return "+".join([*names, *more])


def named_cut(program: Program, name: str) -> Cut:
    """The cut of this name, as `cut_name` gives it.

    Raises:
        UsageError: A tensor is unknown, or other tensors than those named would cross.
    """
    inputs = {v for v in program.graph.inputs if not v.is_initializer()}
    if name == "edge-only":
        return Cut(name, (), tuple(spec.name for spec in program.outputs))
    if name == "cloud-only":
        return crossing(program, set())
    values = program.values()
    wanted = [name] if name in values else name.split("+")
    unknown = [n for n in wanted if n not in values]
    if unknown:
        hint = "edgecut partition --list-cuts shows all"
        raise UsageError(f"no tensor named {unknown[0]!r}", where="--cut", hint=hint)
    edge = ancestors(values[n] for n in wanted)
    found = crossing(program, edge)
    extra = [n for n in found.crossing if n not in wanted]
    used = {*found.crossing, *found.edge_outputs}
    missing = [n for n in wanted if n not in used and values[n] not in inputs]
    if extra or missing:
        what = f"{extra[0]!r} would cross too" if extra else f"{missing[0]!r} would not cross"
        raise UsageError(what, where=f"--cut {name}", hint="edgecut partition --list-cuts shows all")
    return found


def subgraph(program: Program, inputs: Sequence[str], outputs: Sequence[str], name: str) -> Program:
    """A new program that computes ``outputs`` from ``inputs``, annotations included.

    Raises:
        ModelError: An output depends on a graph input that is not among ``inputs``.
    """
    try:
        graph = oir.convenience.extract(program.graph, list(inputs), list(outputs))
    except ValueError as error:
        raise ModelError(f"cannot be computed from {', '.join(inputs)}", where="+".join(outputs)) from error
    graph.name = name
    _order_initializers(graph, program.graph)
    functions = [f.clone() for f in program.model.functions.values()]
    model = oir.Model(graph, ir_version=program.model.ir_version, functions=functions)
    annotations.copy(program.model, model)
    return Program(model)


def split(program: Program, cut: Cut) -> tuple[Program | None, Program | None]:
    """The edge half and the cloud half of a program; a half without work is None.

    A graph input that crosses is no output of the edge half: the runtime sends it as it got it.
    """
    edge_inputs = [spec.name for spec in program.inputs]
    made = [name for name in (*cut.crossing, *cut.edge_outputs) if name not in edge_inputs]
    rest = [spec.name for spec in program.outputs if spec.name not in cut.edge_outputs]
    name = program.graph.name or "model"
    edge = subgraph(program, edge_inputs, list(dict.fromkeys(made)), f"{name}_edge") if made else None
    cloud = subgraph(program, cut.crossing, rest, f"{name}_cloud") if rest else None
    return edge, cloud


def _order_initializers(graph: oir.Graph, like: oir.Graph) -> None:
    """Put initializers into the order of another graph: `extract` collects them in a set."""
    found = dict(graph.initializers)
    graph.initializers.clear()
    for name in like.initializers:
        if name in found:
            graph.initializers[name] = found.pop(name)
    graph.initializers.update(found)


def _on_edge(value: oir.Value, edge: set[oir.Node]) -> bool:
    node = value.producer()
    if node is None:
        return False
    return node in edge or (is_duplicable(node) and any(v.producer() in edge for v in node.inputs if v))


def _sources(
    inputs: Iterable[oir.Value | None],
    outputs: Iterable[oir.Value],
    edge: set[oir.Node],
    free: set[oir.Node],
) -> set[oir.Value]:
    """Edge-side values that these inputs and outputs are read from, through duplicable nodes."""
    found: set[oir.Value] = set()
    seen: set[oir.Value] = set()
    stack = [v for v in (*inputs, *outputs) if v is not None]
    while stack:
        value = stack.pop()
        if value in seen or value.const_value is not None:
            continue
        seen.add(value)
        node = value.producer()
        if node is not None and node in free:
            stack.extend(v for v in reads(node) if v is not None)
        elif node is None or node in edge:
            found.add(value)
    return found


def _captured(body: oir.Graph) -> Iterator[oir.Value]:
    inner = list(oir.traversal.RecursiveGraphIterator(body))
    graphs = {body, *(node.graph for node in inner)}
    own: set[oir.Value] = {v for node in inner for v in node.outputs}
    for graph in graphs:
        own.update((*graph.inputs, *graph.initializers.values()) if graph else ())
    used = (*(v for node in inner for v in node.inputs), *body.outputs)
    yield from (v for v in dict.fromkeys(used) if v is not None and v not in own)
