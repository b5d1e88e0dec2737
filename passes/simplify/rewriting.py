"""What several rewrites need: constants, new initializers, and nodes replaced with their origin kept."""

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir import annotations
from edgecut.ir.annotations import Origin
from edgecut.ir.program import Program


def constant(value: oir.Value | None) -> NDArray[Any] | None:
    """The array of an initializer or Constant, or None."""
    if value is None or value.is_graph_input():
        return None
    tensor = oir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def attribute(node: oir.Node, name: str, default: Any) -> Any:
    """The value of an attribute, or its default."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def is_float(value: oir.Value | None) -> bool:
    """Whether a value is known to be floating and to have a known rank."""
    if value is None or value.shape is None or value.dtype is None:
        return False
    return value.dtype.is_floating_point()


class Names:
    """The names of tensors and nodes of a program, of which new ones have to differ."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._taken = {*program.values(), *(node.name for node in program.nodes)}

    def free(self, wanted: str) -> str:
        """This name, or with a number behind it; it is taken from now on."""
        name, count = wanted, 1
        while name in self._taken:
            name, count = f"{wanted}_{count}", count + 1
        self._taken.add(name)
        return name

    def initializer(self, wanted: str, array: NDArray[Any]) -> oir.Value:
        """A new initializer, under the wanted name if it is free."""
        name = self.free(wanted)
        tensor = oir.tensor(array, name=name)
        kind = oir.TensorType(tensor.dtype)
        value = oir.Value(name=name, shape=oir.Shape(array.shape), type=kind, const_value=tensor)
        self._program.graph.initializers[name] = value
        return value


def replace(program: Program, old: Sequence[oir.Node], new: oir.Node, output: oir.Value) -> None:
    """Put ``new`` in the place of nodes, of which the last made ``output``; it makes that tensor now.

    The tensor keeps its name, shape and annotations, the node gets the annotations of the first node
    and the origin of all.
    """
    made = new.outputs[0]
    made.name, made.shape, made.type = output.name, output.shape, output.type
    annotations.copy(output, made)
    annotations.copy(old[0], new)
    note_origin(new, old)
    program.graph.insert_before(old[-1], new)
    oir.convenience.replace_all_uses_with(output, made, replace_graph_outputs=True)
    for node in reversed(old):
        program.graph.remove(node, safe=True)


def note_origin(node: oir.Node, nodes: Sequence[oir.Node]) -> None:
    """Write down the imported nodes that a node stands for, unless it is just itself."""
    names = tuple(dict.fromkeys(name for item in nodes for name in origin(item)))
    annotations.drop(node, Origin)
    if names != (node.name,):
        annotations.put(node, Origin(names))


def origin(node: oir.Node) -> tuple[str, ...]:
    """The imported nodes that a node stands for."""
    found = annotations.get(node, Origin)
    return found.nodes if found else (node.name or "",)
