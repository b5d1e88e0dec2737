"""onnxsim: constant folding and a few dozen small fusions, with our annotations carried over."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx_ir as oir

from edgecut.ir import annotations, extract
from edgecut.ir.annotations import Origin
from edgecut.ir.program import EXTERNAL_DATA_THRESHOLD, Program
from edgecut.passes.simplify import rewriting


class SimplifierError(Exception):
    """onnxsim did not do its work; the message is its own."""


@dataclass(frozen=True)
class _Old:
    """A node as it was before."""

    origin: tuple[str, ...]
    reads: tuple[str, ...]
    constant: bool


def run(program: Program) -> Program:
    """The program as onnxsim leaves it; inputs, outputs and annotations are as before.

    Raises:
        SimplifierError: onnxsim cannot take this model, or would change its inputs and outputs.
    """
    if program.weight_bytes() > EXTERNAL_DATA_THRESHOLD:
        raise SimplifierError("its weights are over 2 GiB")
    with _without_torch():
        import onnxsim
    try:
        # BatchNormalization is left to our own rewrite, which keeps the names of tensors true.
        simplified, _ = onnxsim.simplify(program.proto(), skip_fuse_bn=True)
        model = oir.from_proto(simplified)
    except Exception as error:  # it is C++ underneath, and raises what it likes
        raise SimplifierError(str(error).strip().split("\n")[0]) from error
    result = Program(model)
    if (result.inputs, result.outputs) != (program.inputs, program.outputs):
        raise SimplifierError("the inputs or outputs would change")
    result.name_nodes()
    _restore(program, result)
    return result


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Hide torch, which onnxsim imports if it can: two seconds, for parts that are not used here."""
    hidden = "torch" not in sys.modules
    modules: dict[str, Any] = sys.modules
    if hidden:
        modules["torch"] = None
    try:
        yield
    finally:
        if hidden:
            del modules["torch"]


def _restore(old: Program, new: Program) -> None:
    """Copy annotations by name; a node that stands for others gets their names as its origin."""
    annotations.copy(old.model, new.model)
    values = old.values()
    for name, value in new.values().items():
        if name in values:
            annotations.copy(values[name], value)
    nodes = {node.name: node for node in old.nodes}
    makers = _makers(old)
    taken = {node.name for node in new.nodes}
    for node in new.nodes:
        same = nodes.get(node.name)
        if same is not None:
            annotations.copy(same, node)
            annotations.drop(node, Origin)
        names = _origin(node, makers)
        if same is None and names and names[-1] not in taken:
            node.name = names[-1]
            taken.add(node.name)
        if names and names != (node.name,):
            annotations.put(node, Origin(names))


def _makers(program: Program) -> dict[str, _Old]:
    """By tensor, the node that made it."""
    free = extract.duplicable_nodes(program)
    found = {}
    for node in program.nodes:
        reads = tuple(v.name or "" for v in node.inputs if v is not None)
        item = _Old(rewriting.origin(node), reads, node in free and node.op_type != "DequantizeLinear")
        found.update({v.name or "": item for v in node.outputs})
    return found


def _origin(node: oir.Node, makers: dict[str, _Old]) -> tuple[str, ...]:
    """Origins of the old nodes between the inputs and the outputs of a new one, constants left out."""
    ends = {v.name for v in node.inputs if v is not None}
    stack = [v.name or "" for v in node.outputs]
    seen: set[str] = set()
    found: list[_Old] = []
    while stack:
        name = stack.pop()
        maker = makers.get(name)
        if name in seen or name in ends or maker is None or maker.constant:
            continue
        seen.add(name)
        found.append(maker)
        stack.extend(maker.reads)
    return tuple(dict.fromkeys(name for item in reversed(found) for name in item.origin))
