"""Renames the graph, loudly."""

from dataclasses import dataclass
from typing import ClassVar

from edgecut.ir.program import Program
from edgecut.passes.base import Context, Pass, option


@dataclass(frozen=True)
class Shout(Pass):
    """Put the graph's name in capitals."""

    name: ClassVar[str] = "shout"
    marks: int = option(1, help="exclamation marks to add")

    def run(self, program: Program, context: Context) -> Program:
        """Rename the graph."""
        program.graph.name = (program.graph.name or "").upper() + "!" * self.marks
        context.metrics["marks"] = float(self.marks)
        return program
