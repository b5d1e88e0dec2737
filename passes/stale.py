"""Forgets what was measured or decided on a graph that a pass has rewritten."""

from edgecut.ir import annotations
from edgecut.ir.annotations import CloudOnly, Cost, Group, Placement, Plan, Profile, Router, Wire
from edgecut.ir.program import Program


def drop(program: Program) -> None:
    """Remove costs, groups, sides, wire forms and plans; what a pass cannot change stays."""
    for node in program.nodes:
        for kind in (Cost, Group, CloudOnly, Placement):
            annotations.drop(node, kind)
    for value in program.values().values():
        annotations.drop(value, Wire)
    annotations.drop(program.model, Profile)
    annotations.drop(program.model, Plan)
    annotations.drop(program.model, Router)
