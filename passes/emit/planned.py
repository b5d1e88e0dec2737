"""What the passes have in common that write the plan's cuts."""

from __future__ import annotations

from dataclasses import dataclass

from edgecut.ir import annotations as notes
from edgecut.ir.annotations import Cut, Plan
from edgecut.ir.program import Program
from edgecut.passes.base import Pass


@dataclass(frozen=True)
class Planned(Pass):
    """Base of passes that come after the cuts were chosen."""

    def check_before(self, program: Program) -> None:
        """The cuts must have been chosen.

        Raises:
            ModelError: There is no plan.
        """
        cuts(program)


def cuts(program: Program) -> list[Cut]:
    """The cuts of the plan.

    Raises:
        ModelError: There is none.
    """
    plan = notes.require(program.model, Plan, "run the pass partition first")
    return [figures.cut for figures in plan.cuts]
