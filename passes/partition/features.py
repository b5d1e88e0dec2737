"""Feature-based partitioning: the backbone on the edge, the head in the cloud, be that the best or not."""

import difflib

import numpy as np
import onnx_ir as oir

from edgecut.ir.errors import ConstraintError, UsageError
from edgecut.ir.program import Program, static_shape
from edgecut.passes.partition.problem import INPUT, Mask, Problem
from edgecut.passes.partition.reader import Members

SPATIAL_RANK = 3
"""Batch, channels and at least one dimension of space or time."""


def head(program: Program, problem: Problem, members: Members, begins: str | None) -> Mask:
    """The placement with the head in the cloud and all else on the edge.

    Args:
        program: The graph.
        problem: What was read off it.
        members: Nodes of its groups.
        begins: Node with which the head begins; None: what comes after the last spatial tensor.

    Raises:
        UsageError: There is no such node.
        ConstraintError: No tensor of the model is spatial.
    """
    if begins is not None:
        return problem.below(_group_of(problem, members, begins))
    made = [t for t, name in enumerate(problem.tensors) if problem.producer[t] != INPUT]
    spatial = [t for t in made if _is_spatial(program.value(problem.tensors[t]))]
    if not spatial:
        raise ConstraintError(
            "no tensor has dimensions in space or time", hint="name the head with --head NODE"
        )
    last = max(spatial, key=lambda t: int(problem.producer[t]))
    only = np.zeros(len(problem.groups), bool)
    only[problem.producer[last]] = True
    return ~problem.above(only)


def _group_of(problem: Problem, members: Members, node: str) -> Mask:
    names = {n.name or "": group for group, nodes in members.items() for n in nodes}
    if node not in names:
        close = difflib.get_close_matches(node, names, n=1, cutoff=0.0)
        hint = f"did you mean {close[0]!r}?" if close else None
        raise UsageError(f"no node named {node!r}", where="--head", hint=hint)
    return np.array([group == names[node] for group in problem.groups], bool)


def _is_spatial(value: oir.Value) -> bool:
    """Whether a tensor has more than one position; channels are the second dimension."""
    shape = static_shape(value) or ()
    return len(shape) >= SPATIAL_RANK and int(np.prod(shape[2:])) > 1
