"""All legal cuts of a graph, one by one: what can be forced, and what tests walk."""

from collections.abc import Iterator

import numpy as np

from edgecut.ir.annotations import Cut
from edgecut.ir.program import Program
from edgecut.passes.partition import reader
from edgecut.passes.partition.cuts import is_legal, to_cut
from edgecut.passes.partition.feasible import pin
from edgecut.passes.partition.problem import INPUT, Mask, Problem

LIMIT = 10_000

VISITS = 10
"""How many sets are looked at for each legal one that is wanted: with sealed tensors few may be legal."""


def all_cuts(program: Program, limit: int = LIMIT) -> list[Cut]:
    """All legal cuts of a profiled program; beyond ``limit`` only those where one tensor crosses.

    The cuts go from cloud-only to edge-only, by the number of groups on the edge.

    Raises:
        ModelError: The program has no costs.
        ConstraintError: No cut is legal.
    """
    problem, members = reader.read(program), reader.group_members(program)
    found, _ = placements(problem, limit)
    return [to_cut(program, problem, members, cloud) for cloud in found]


def first_cuts(program: Program) -> list[tuple[Cut, tuple[str, ...]]]:
    """For each group that others read, the legal cut right behind it, and the crossing tensors it makes.

    Of the cuts that send those tensors it is the one with the least on the edge; further tensors may cross
    beside them. The cuts go from the one with the fewest groups on the edge to the one with the most.

    Raises:
        ModelError: The program has no costs.
        ConstraintError: No cut is legal.
    """
    problem, members = reader.read(program), reader.group_members(program)
    found = []
    for maker, cloud in _by_maker(problem):
        own = np.flatnonzero(problem.crossing(cloud) & (problem.producer == maker))
        if len(own) and is_legal(problem, cloud):
            found.append((cloud, tuple(problem.tensors[t] for t in own)))
    found.sort(key=lambda item: _most_cloud(item[0]))
    return [(to_cut(program, problem, members, cloud), made) for cloud, made in found]


def placements(problem: Problem, limit: int = LIMIT) -> tuple[list[Mask], bool]:
    """The legal placements, and whether these are all of them.

    Args:
        problem: The graph.
        limit: If there are more, only edge-only, cloud-only and those where one tensor crosses are given.
    """
    found: list[Mask] = []
    for visited, cloud in enumerate(_down_sets(problem)):
        if is_legal(problem, cloud):
            found.append(cloud)
        if len(found) > limit or visited > VISITS * limit:
            return sorted(_single_tensor(problem), key=_most_cloud), False
    return sorted(found, key=_most_cloud), True


def _down_sets(problem: Problem) -> Iterator[Mask]:
    """Every set of groups that holds all that its groups are computed from, by its complement in the cloud.

    Groups are added in topological order, so each set is reached once, and each step on the way is one.
    """
    on_edge, in_cloud = pin(problem)
    choice = np.flatnonzero(~on_edge & ~in_cloud).tolist()
    stack: list[tuple[int, Mask]] = [(0, ~on_edge)]
    while stack:
        start, cloud = stack.pop()
        yield cloud
        for at in range(start, len(choice)):
            group = choice[at]
            if not any(cloud[parent] for parent in problem.parents[group]):
                more = cloud.copy()
                more[group] = False
                stack.append((at + 1, more))


def _single_tensor(problem: Problem) -> Iterator[Mask]:
    """Edge-only and cloud-only where legal, and every placement where the one tensor is all that crosses."""
    groups = len(problem.groups)
    wanted = [np.zeros(groups, bool), np.ones(groups, bool), *(cloud for _, cloud in _by_maker(problem))]
    seen: set[bytes] = set()
    for i, cloud in enumerate(wanted):
        if cloud.tobytes() in seen or (i > 1 and problem.crossing(cloud).sum() != 1):
            continue
        seen.add(cloud.tobytes())
        if is_legal(problem, cloud):
            yield cloud


def _by_maker(problem: Problem) -> Iterator[tuple[int, Mask]]:
    """Each group that others read, with the placement that has no more on the edge than that group needs."""
    on_edge, _ = pin(problem)
    for maker in sorted({int(p) for p in problem.producer if p != INPUT}):
        wanted = on_edge.copy()
        wanted[maker] = True
        yield maker, ~problem.above(wanted)


def _most_cloud(cloud: Mask) -> tuple[int, bytes]:
    return -int(cloud.sum()), cloud.tobytes()
