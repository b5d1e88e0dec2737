"""All cuts of a program with their figures: what ``edgecut partition --list-cuts`` prints."""

from edgecut.ir.annotations import CutFigures
from edgecut.ir.program import Program
from edgecut.passes.partition import codings, cuts, planning
from edgecut.passes.partition.enumerate import LIMIT, placements
from edgecut.passes.partition.objective import latency
from edgecut.passes.partition.partition import Partition


def figures(program: Program, wanted: Partition, limit: int = LIMIT) -> tuple[list[CutFigures], bool]:
    """Every legal cut within the budgets, from cloud-only to edge-only, and whether these are all.

    Args:
        program: A profiled program.
        wanted: Its options give the network, budgets and privacy.
        limit: If there are more cuts, only those where one tensor crosses are given.

    Raises:
        ModelError: The program has no costs.
        ConstraintError: No cut is legal.
        UsageError: An option names something unknown.
    """
    wanted.check_before(program)
    request = wanted.request(program)
    posed = planning.pose(program, request)
    sides, complete = placements(posed.problem, limit)
    found = [way for cloud in sides for way in codings.every(posed.problem, cloud)]
    kept = [cloud for cloud in found if all(b.holds(posed.problem, cloud) for b in request.budgets)]
    rates = latency(request.situation).at(request.situation.delay)
    return [cuts.figures(posed.cut(cloud), posed.problem.totals(cloud), rates) for cloud in kept], complete


__all__ = ["LIMIT", "figures"]
