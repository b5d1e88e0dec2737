"""Nodes that hand on what they get, Identity and Dropout, are removed."""

import onnx_ir as oir

from edgecut.ir.program import Program
from edgecut.passes.simplify import rewriting


def remove(program: Program) -> int:
    """Remove them where names of graph inputs and outputs allow it; gives how many there were."""
    return sum(_remove(program, node) for node in list(program.nodes) if _hands_on(node))


def _hands_on(node: oir.Node) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return False
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if training is None:
        return True
    value = rewriting.constant(training)
    return value is not None and not value.any()


def _remove(program: Program, node: oir.Node) -> bool:
    source, output = node.inputs[0], node.outputs[0]
    if source is None:
        return False
    if output.is_graph_output():
        if source.producer() is None or source.is_graph_output():
            return False
        # The producer makes the graph output itself, under the name that the user gave it.
        name = output.name
        output.name = None
        source.name = name
    oir.convenience.replace_all_uses_with(output, source, replace_graph_outputs=True)
    program.graph.remove(node, safe=True)
    return True
