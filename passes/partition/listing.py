"""All cuts of a program with their figures: what ``edgecut partition --list-cuts`` prints."""

from edgecut.ir.annotations import CutFigures
from edgecut.ir.program import Program
from edgecut.passes.partition import cuts, reader
from edgecut.passes.partition.enumerate import LIMIT, placements
from edgecut.passes.partition.objective import Situation, latency
from edgecut.targets.spec import load_network


def figures(program: Program, network: str, limit: int = LIMIT) -> tuple[list[CutFigures], bool]:
    """Every legal cut with its figures, from cloud-only to edge-only, and whether these are all.

    Args:
        program: A profiled program.
        network: A name, or a .toml file.
        limit: If there are more cuts, only those where one tensor crosses are given.

    Raises:
        ModelError: The program has no costs.
        ConstraintError: No cut is legal.
        UsageError: There is no such network.
    """
    at = Situation(load_network(network))
    problem, members = reader.read(program), reader.group_members(program)
    found, complete = placements(problem, limit)
    rates = latency(at).at(at.delay)
    named = [(cuts.to_cut(program, problem, members, cloud), cloud) for cloud in found]
    return [cuts.figures(problem, cut, cloud, rates) for cut, cloud in named], complete


__all__ = ["LIMIT", "figures"]
