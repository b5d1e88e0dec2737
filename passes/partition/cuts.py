"""Between placements of groups and cuts of the graph."""

from dataclasses import replace

import numpy as np
import onnx_ir as oir

from edgecut.ir import annotations, extract
from edgecut.ir.annotations import Cut, CutFigures, Encodings
from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program, tensor_spec
from edgecut.passes.partition.objective import Rates
from edgecut.passes.partition.problem import Mask, Problem, Totals
from edgecut.passes.partition.reader import Members

AT = "@"
"""Between the name of a cut and the encodings in which its tensors are sent."""


def to_cut(program: Program, problem: Problem, members: Members, cloud: Mask) -> Cut:
    """The cut that a placement makes.

    Args:
        program: The graph.
        problem: What was read off it.
        members: Nodes of its groups.
        cloud: Placement.
    """
    edge = {node for i in np.flatnonzero(~problem.sides(cloud)) for node in members[problem.groups[i]]}
    found = extract.crossing(program, edge)
    used = np.flatnonzero(problem.coded(cloud))
    if not len(used):
        return found
    codings = problem.codings
    by_tensor = {problem.tensors[codings.tensor[k]]: codings.names[k] for k in used}
    encodings = tuple(by_tensor.get(name) or held(program, name) for name in found.crossing)
    return replace(found, name=f"{found.name}{AT}{'+'.join(encodings)}", encodings=encodings)


def parts(program: Program, name: str) -> tuple[str, str | None]:
    """The name of the cut itself, and the encodings behind it, if it names any."""
    own, sign, encodings = name.rpartition(AT)
    tensors = program.values()
    if not sign or name in tensors or all(part in tensors for part in name.split("+")):
        return name, None
    return own, encodings


def held(program: Program, name: str) -> str:
    """What an encoding is called that sends a tensor as it is held."""
    value = program.value(name)
    known = annotations.get(value, Encodings)
    return known.table[0].name if known else tensor_spec(value).dtype


def to_placement(program: Program, problem: Problem, members: Members, cut: Cut) -> Mask:
    """The placement that makes a cut; shape [groups].

    Raises:
        ConstraintError: The cut goes through a group, or puts one where it cannot run.
    """
    edge = extract.edge_nodes(program, cut)
    cloud = np.zeros(len(problem.groups), bool)
    for i, group in enumerate(problem.groups):
        nodes = members[group]
        cloud[i] = nodes[-1] not in edge
        if any((node not in edge) != cloud[i] for node in nodes):
            raise ConstraintError(_through(nodes), where=f"--cut {cut.name}", hint=_instead(nodes))
    check(problem, cloud, cut.name)
    return cloud


def check(problem: Problem, cloud: Mask, name: str) -> None:
    """Raise where a placement is not legal.

    Raises:
        ConstraintError: A group is on a side that cannot run it, or a sealed tensor crosses.
    """
    sides = problem.sides(cloud)
    for side, wrong in (("edge", problem.must_cloud & ~sides), ("cloud", problem.must_edge & sides)):
        if wrong.any():
            reason = problem.reasons[problem.groups[int(np.argmax(wrong))]]
            hint = "edgecut partition --list-cuts shows the possible ones"
            raise ConstraintError(f"the {side} cannot run {reason}", where=f"--cut {name}", hint=hint)
    leaked = problem.crossing(cloud) & problem.sealed
    if leaked.any():
        tensor = problem.tensors[int(np.argmax(leaked))]
        hint = "cut after a node that --declassify names"
        raise ConstraintError(f"{tensor!r} is private and would be sent", where=f"--cut {name}", hint=hint)


def is_legal(problem: Problem, cloud: Mask) -> bool:
    """Whether every group is on a side that can run it, and no sealed tensor crosses."""
    sides = problem.sides(cloud)
    wrong = (problem.must_cloud & ~sides).any() or (problem.must_edge & sides).any()
    return not wrong and not (problem.crossing(cloud) & problem.sealed).any()


def figures(
    cut: Cut, totals: Totals, latency: Rates, best: tuple[float, float | None] = (0.0, 0.0)
) -> CutFigures:
    """What a cut is predicted, or was measured, to do.

    Args:
        cut: The cut.
        totals: What it adds up to.
        latency: Prices of the latency at the plan's network.
        best: Between which uplink bandwidths it is the best one; both 0 if nowhere.
    """
    return CutFigures(
        cut=cut,
        edge_s=totals.edge_s,
        cloud_s=totals.cloud_s,
        up_bytes=totals.up_bytes,
        down_bytes=totals.down_bytes,
        latency_s=latency.price(totals),
        min_mbps=best[0],
        max_mbps=best[1],
    )


def _through(nodes: list[oir.Node]) -> str:
    names = ", ".join(f"{node.op_type} {node.name}" for node in nodes)
    return f"goes through operators that the edge runs as one: {names}"


def _instead(nodes: list[oir.Node]) -> str:
    outputs = ", ".join(repr(v.name) for v in nodes[-1].outputs)
    return f"cut at {outputs}, which they end with, or before them"
