"""Gives the cloud half inputs in wire form: the layout and type in which the edge kernel produces them."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as oir

from edgecut.ir.annotations import Wire
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program, static_shape


def take_wire_inputs(program: Program, wire: Mapping[str, Wire]) -> None:
    """Change the inputs of a cloud half, in place, to take the tensors as they come over the wire.

    Args:
        program: A cloud half, whose inputs are in the IR's own layout.
        wire: Wire form of each crossing tensor; absent where it is the IR's own.

    Raises:
        ModelError: A wire form is no transposition of its tensor, or a shape is not known.
    """
    for value in list(program.graph.inputs):
        form = wire.get(value.name or "")
        if form is None:
            _require_static(value)
            continue
        _check(value, form)
        if form.perm and form.perm != tuple(range(len(form.perm))):
            _transpose(program.graph, value, form)


def _check(value: oir.Value, form: Wire) -> None:
    shape = _require_static(value)
    own = value.dtype.numpy().name if value.dtype is not None else ""
    if form.dtype != own:
        raise ModelError(f"crosses as {form.dtype} but is {own} in the program", where=value.name)
    perm = form.perm or tuple(range(len(shape)))
    if sorted(perm) != list(range(len(shape))) or tuple(shape[p] for p in perm) != form.shape:
        what = f"crosses with shape {form.shape} and order {form.perm}, which {shape} cannot have"
        raise ModelError(what, where=value.name)


def _require_static(value: oir.Value) -> tuple[int, ...]:
    shape = static_shape(value)
    if shape is None:
        raise ModelError("crosses the network but has no static shape", where=value.name, hint="give --shape")
    return shape


def _transpose(graph: oir.Graph, value: oir.Value, form: Wire) -> None:
    """Make ``value`` the tensor on the wire, and let its consumers read the transposition of it.

    A consumer that transposes anyway is merged with it, and vanishes where the two cancel.
    """
    inverse = tuple(form.perm.index(axis) for axis in range(len(form.perm)))
    uses = list(value.uses())
    shape = value.shape
    value.shape = oir.Shape(form.shape)
    rest = [use for use in uses if not _merge(graph, use.node, value, inverse)]
    if not rest:
        return
    node = oir.node("Transpose", [value], {"perm": list(inverse)}, name=f"{value.name}_from_wire")
    inner = node.outputs[0]
    inner.name, inner.shape, inner.type = f"{value.name}__ir", shape, value.type
    for use in rest:
        use.node.replace_input_with(use.idx, inner)
    graph.insert_before(next(iter(graph)), node)


def _merge(graph: oir.Graph, node: oir.Node, value: oir.Value, inverse: tuple[int, ...]) -> bool:
    if node.op_type != "Transpose" or node.domain not in ("", "ai.onnx"):
        return False
    default = list(range(len(inverse)))[::-1]
    perm = list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else default
    merged = [inverse[axis] for axis in perm]
    output = node.outputs[0]
    if merged == sorted(merged) and not output.is_graph_output():
        oir.convenience.replace_all_uses_with(output, value)
        graph.remove(node, safe=True)
        return True
    node.attributes["perm"] = oir.AttrInt64s("perm", merged)
    return True
