"""Privacy as a type: what is derived from a private input carries its labels, and must not be sent.

A node that the user names as a declassifier ends that: what it makes may be sent. Its labels are kept,
so that the manifest can tell what each tensor that leaves the device was derived from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgecut.ir import annotations, extract
from edgecut.ir.annotations import Privacy
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program
from edgecut.passes.partition import named


@dataclass(frozen=True)
class Labels:
    """What tensors are derived from, by name."""

    of: dict[str, tuple[str, ...]]
    """Labels of all that a tensor is derived from, sorted."""
    sealed: frozenset[str]
    """Tensors that must not leave the device."""


def taint(program: Program, private: Sequence[str], declassify: Sequence[str]) -> Labels:
    """Follow private inputs through the graph.

    Args:
        program: The graph.
        private: ``INPUT`` or ``INPUT=LABEL``; the label of an input is its name unless given.
        declassify: Names of nodes (as in the imported model) whose outputs may be sent, whatever they read.

    Raises:
        UsageError: There is no such input or node, or a declassifier reads nothing private.
    """
    labels = _inputs(program, private)
    named_ends = {name: named.nodes(program, name, "--declassify") for name in declassify}
    ends = {node for nodes in named_ends.values() for node in nodes}
    sealed = set(labels)
    for node in program.nodes:
        reads = [v.name for v in extract.reads(node) if v is not None and v.name]
        found = {label for name in reads for label in labels.get(name, ())}
        names = [v.name for v in node.outputs if v.name]
        if found:
            labels.update((name, tuple(sorted(found))) for name in names)
        if node not in ends and not sealed.isdisjoint(reads):
            sealed.update(names)
    for name, nodes in named_ends.items():
        if not any(v is not None and v.name in labels for node in nodes for v in extract.reads(node)):
            raise UsageError(f"{name!r} reads nothing private", where="--declassify")
    return Labels(labels, frozenset(sealed))


def annotate(program: Program, labels: Labels, sent: Iterable[str]) -> None:
    """Write the labels of the tensors that may be sent."""
    for name in sent:
        if labels.of.get(name):
            annotations.put(program.value(name), Privacy(labels.of[name]))


def _inputs(program: Program, private: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    names = {spec.name for spec in program.inputs}
    for text in private:
        name, _, label = text.partition("=") if text not in names else (text, "", "")
        named.require(name, names, "input", "--private")
        found.setdefault(name, set()).add(label or name)
    return {name: tuple(sorted(labels)) for name, labels in found.items()}
