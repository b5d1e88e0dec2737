"""Nodes by the names that the user knows: those of the imported model, whatever became of the nodes since."""

import difflib
from collections.abc import Iterable

import onnx_ir as oir

from edgecut.ir import annotations
from edgecut.ir.annotations import Origin
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program


def nodes(program: Program, name: str, where: str) -> list[oir.Node]:
    """The node of this name, or those that were made of the imported model's node of this name.

    Args:
        program: The graph.
        name: What the user wrote.
        where: The option that the user wrote it for.

    Raises:
        UsageError: There is none; the message names the closest.
    """
    known: dict[str, list[oir.Node]] = {}
    for node in program.nodes:
        origin = annotations.get(node, Origin)
        for own in {node.name or "", *(origin.nodes if origin else ())}:
            known.setdefault(own, []).append(node)
    require(name, known, "node", where)
    exact = [node for node in known[name] if node.name == name]
    return exact or known[name]


def require(name: str, known: Iterable[str], kind: str, where: str) -> None:
    """Raise a `UsageError` that names the closest where a name is not among the known ones."""
    names = list(known)
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    raise UsageError(
        f"no {kind} named {name!r}", where=where, hint=f"did you mean {close[0]!r}?" if close else None
    )
