"""The narrow places of a network: values that all of its answers hang on alone."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from edgecut.ir.program import Program, static_shape
from edgecut.passes.prune.importance import reads


def places(program: Program) -> list[str]:
    """Names of the values after some weights that all answers hang on alone, in order.

    Of values that only rearrange or activate one another the last one is named.
    """
    ends = set(program.graph.outputs)
    uses = {v: len(v.uses()) + (v in ends) for v in program.values().values() if v.const_value is None}
    left = {value: uses[value] for value in program.graph.inputs}
    found, weighted = [], False
    for node in program.nodes:
        weighted = weighted or _weighs(node)
        for value in node.inputs:
            if value in left:
                left[value] -= 1
        left = {value: count for value, count in left.items() if count}
        left |= {value: uses[value] for value in node.outputs if uses.get(value)}
        only = next(iter(left)) if len(left) == 1 else None
        if weighted and only is not None and only not in ends and not _goes_on(only):
            found.append(only.name or "")
    return found


def _goes_on(value: oir.Value) -> bool:
    """Whether the only node that reads a value gives as many numbers, without weighing any."""
    users = [user for user, _ in value.uses()]
    if len(users) != 1 or _weighs(users[0]):
        return False
    sizes = [static_shape(v) for v in (value, users[0].outputs[0])]
    return None not in sizes and np.prod(sizes[0] or ()) == np.prod(sizes[1] or ())


def _weighs(node: oir.Node) -> bool:
    return reads(node) or node.op_type == "Conv"
