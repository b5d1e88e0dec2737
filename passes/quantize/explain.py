"""What `quantize` decided for each kernel, as it stands on the nodes."""

from dataclasses import dataclass

from edgecut.ir import annotations
from edgecut.ir.annotations import Origin, Sensitivity
from edgecut.ir.program import Program


@dataclass(frozen=True)
class Kernel:
    """One kernel, and what is known of it."""

    node: str
    """Name of its last node, ..."""
    origin: tuple[str, ...]
    """... and the nodes of the imported model that it came from."""
    operators: str
    sensitivity: Sensitivity


def kernels(program: Program) -> list[Kernel]:
    """All kernels whose error was measured, in topological order."""
    found = []
    kinds = {n.name: n.op_type for n in program.nodes}
    for node in program.nodes:
        record = annotations.get(node, Sensitivity)
        if record is not None:
            name = node.name or ""
            origin = annotations.get(node, Origin) or Origin((name,))
            operators = "+".join(kinds.get(n, "?") for n in record.nodes)
            found.append(Kernel(name, origin.nodes, operators, record))
    return found
