"""Checks that a program is well formed: what every pass may rely on, and must leave behind."""

from collections import Counter

import onnx
import onnx_ir as oir

from edgecut.ir import annotations
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program, static_shape


def verify(program: Program) -> None:
    """Check names, order, shapes, types, operators and annotations.

    Raises:
        ModelError: Something is not as it must be; the message names the node or tensor.
    """
    _check_names(program)
    _check_order(program)
    _check_shapes(program)
    _check_annotations(program)
    _check_onnx(program)


def _check_names(program: Program) -> None:
    graph = program.graph
    nodes = Counter(node.name for node in graph)
    made = [v for node in graph for v in node.outputs if v.name]
    values = Counter(v.name for v in (*graph.inputs, *made))
    values.update(name for name, v in graph.initializers.items() if v not in graph.inputs)
    for kind, counts in (("node", nodes), ("tensor", values)):
        twice = next((name for name, count in counts.items() if count > 1), None)
        if twice:
            raise ModelError(f"two {kind}s have the name {twice!r}")
    if None in nodes or "" in nodes:
        raise ModelError("a node has no name")
    if not graph.outputs:
        raise ModelError("has no graph outputs", where=graph.name)


def _check_order(program: Program) -> None:
    """Topological order, which is how a graph shows that it has no cycle."""
    known = {*program.graph.inputs, *program.graph.initializers.values()}
    for node in program.nodes:
        early = next((v for v in node.inputs if v is not None and v not in known), None)
        if early is not None:
            what = f"reads {early.name!r} before it is computed"
            raise ModelError(what, where=node.name, hint="the graph has a cycle or is not sorted")
        known.update(node.outputs)
    lost = next((v for v in program.graph.outputs if v not in known), None)
    if lost is not None:
        raise ModelError("is a graph output that nothing computes", where=lost.name)


def _check_shapes(program: Program) -> None:
    for name, value in program.values().items():
        if value.dtype is None or static_shape(value) is None:
            raise ModelError(
                "has no known static shape and type", where=name, hint="give --shape for the inputs"
            )


def _check_annotations(program: Program) -> None:
    owners: list[oir.Model | oir.Node | oir.Value] = [program.model, *program.nodes]
    owners += program.values().values()
    levels = {oir.Model: "model", oir.Node: "node", oir.Value: "value"}
    for owner in owners:
        level = next(name for cls, name in levels.items() if isinstance(owner, cls))
        for record in annotations.records(owner).values():
            if level != record.LEVEL:
                where = getattr(owner, "name", None)
                raise ModelError(f"{record.KEY} belongs on a {record.LEVEL}, not on a {level}", where=where)


def _check_onnx(program: Program) -> None:
    """ONNX's own checker: operators exist in the opset, attributes and types fit."""
    skeleton = program.copy()
    for value in skeleton.graph.initializers.values():
        # Over 2 GiB of weights would not fit the checker's message, and their content does not matter.
        if value.const_value is not None and value.const_value.nbytes > (1 << 20):
            value.const_value = None
            skeleton.graph.inputs.append(value)
    for name in [v.name for v in skeleton.graph.inputs if v.name in skeleton.graph.initializers]:
        skeleton.graph.initializers.pop(name or "", None)
    try:
        onnx.checker.check_model(oir.to_proto(skeleton.model))
    except onnx.checker.ValidationError as error:
        raise ModelError(f"ONNX checker: {str(error).strip().splitlines()[0]}") from error
