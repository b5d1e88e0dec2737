"""The pass that decides what runs where."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgecut.ir import annotations, extract
from edgecut.ir.annotations import Placement, Plan, Profile
from edgecut.ir.program import Program
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.partition import objective as objectives
from edgecut.passes.partition import planning, reader
from edgecut.passes.partition.objective import Link


@dataclass(frozen=True)
class Partition(Pass):
    """Find the best cut for a network, and all others that are the best at some bandwidth, exactly.

    Solving takes less time than the cache would, so results are not cached.
    """

    name = "partition"

    network: str = option("wifi", help="Network between the two sides: a name, or a .toml file.")
    objective: Literal["latency"] = option("latency", help="What to minimize.")
    cut: str | None = option(None, help="Take this cut: its crossing tensors joined by '+'.")

    def files(self) -> list[Path]:
        """The user's network file."""
        return [Path(self.network)] if self.network.endswith(".toml") else []

    def check_before(self, program: Program) -> None:
        """Raise where the program has not been profiled."""
        annotations.require(program.model, Profile, reader.HINT)

    def run(self, program: Program, context: Context) -> Program:
        """Annotate the model with the plan, and every node with its side under the chosen cut."""
        link = load_link(self.network)
        made = planning.plan(program, link, objectives.latency(link), self.cut)
        annotations.put(program.model, made)
        place(program, made)
        context.metrics.update(_metrics(made))
        return program


def load_link(name: str) -> Link:
    """The link that a network file describes.

    Raises:
        UsageError: There is no such network, or the file does not fit.
    """
    from edgecut.targets.spec import load_network

    network = load_network(name)
    return Link(network.name, network.up_mbps, network.down_mbps, network.rtt_s)


def place(program: Program, plan: Plan) -> None:
    """Write the side of every node under the chosen cut."""
    edge = extract.edge_nodes(program, plan.chosen.cut)
    for node in program.nodes:
        annotations.put(node, Placement("edge" if node in edge else "cloud"))


def _metrics(plan: Plan) -> dict[str, float | str]:
    """Names only: times may be measured, and metrics have to be the same for the same input."""
    return {"cut": plan.chosen.cut.name, "cuts": len(plan.cuts)}
