"""Feature-based partitioning: the backbone on the edge, the head in the cloud, be that the best or not."""

import numpy as np
import onnx_ir as oir

from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program, static_shape
from edgecut.passes.partition import named
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
        begins: Node with which the head begins, or the tensor that it reads; None: the last spatial tensor.

    Raises:
        UsageError: There is no such node or tensor.
        ConstraintError: No tensor of the model is spatial.
    """
    if begins is not None:
        return _below(program, problem, members, begins)
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


def _below(program: Program, problem: Problem, members: Members, begins: str) -> Mask:
    """The groups of the named node and all after them; or all that the named tensor does not need."""
    group_of = {node: group for group, nodes in members.items() for node in nodes}
    made = program.values().get(begins)
    maker = made.producer() if made is not None else None
    is_tensor = maker in group_of and all(node.name != begins for node in group_of)
    if maker is not None and is_tensor:
        return ~problem.above(_mask(problem, {group_of[maker]}))
    found = named.nodes(program, begins, "--head")
    return problem.below(_mask(problem, {group_of[node] for node in found if node in group_of}))


def _mask(problem: Problem, groups: set[str]) -> Mask:
    return np.array([group in groups for group in problem.groups], bool)


def _is_spatial(value: oir.Value) -> bool:
    """Whether a tensor has more than one position; channels are the second dimension."""
    shape = static_shape(value) or ()
    return len(shape) >= SPATIAL_RANK and int(np.prod(shape[2:])) > 1
