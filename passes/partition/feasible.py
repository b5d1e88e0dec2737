"""Which groups have no choice, and why no placement is legal where that is so."""

import numpy as np

from edgecut.ir.errors import ConstraintError
from edgecut.passes.partition.problem import INPUT, Mask, Problem


def pin(problem: Problem) -> tuple[Mask, Mask]:
    """Groups that every legal placement has on the edge, and those it has in the cloud.

    Raises:
        ConstraintError: There is no legal placement; the message names the two groups in conflict.
    """
    on_edge, in_cloud = _forced_edge(problem), _forced_cloud(problem)
    conflict = np.flatnonzero(on_edge & in_cloud)
    if len(conflict):
        raise ConstraintError("no cut is legal: " + _conflict(problem, int(conflict[0])))
    return on_edge, in_cloud


def _forced_edge(problem: Problem) -> Mask:
    reads = problem.sealed[problem.read_tensor]
    source, reader = problem.producer[problem.read_tensor[reads]], problem.read_group[reads]
    found = problem.must_edge.copy()
    found[reader[source == INPUT]] = True
    source, reader = source[source != INPUT], reader[source != INPUT]
    while True:
        found = problem.above(found)
        more = reader[found[source] & ~found[reader]]
        if not len(more):
            return found
        found[more] = True


def _forced_cloud(problem: Problem) -> Mask:
    reads = problem.sealed[problem.read_tensor] & (problem.producer[problem.read_tensor] != INPUT)
    source, reader = problem.producer[problem.read_tensor[reads]], problem.read_group[reads]
    found = problem.must_cloud.copy()
    while True:
        found = problem.below(found)
        more = source[found[reader] & ~found[source]]
        if not len(more):
            return found
        found[more] = True


def _conflict(problem: Problem, group: int) -> str:
    """Name what forces one group both ways."""
    here = np.zeros(len(problem.groups), bool)
    here[group] = True
    cloud = np.flatnonzero(problem.above(here) & problem.must_cloud)
    edge = np.flatnonzero(problem.below(here) & problem.must_edge)
    sealed = [t for t, s in zip(problem.tensors, problem.sealed, strict=True) if s]
    up = _reason(problem, cloud) or f"{problem.groups[group]} reads what only the cloud can compute"
    down = _reason(problem, edge) or f"{', '.join(sealed[:3])} must not leave the edge"
    return f"the edge cannot run {up}; but {down}"


def _reason(problem: Problem, groups: np.typing.NDArray[np.intp]) -> str:
    return problem.reasons[problem.groups[groups[0]]] if len(groups) else ""
