"""The pass that decides what runs where."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgecut.frontends import data as inputs
from edgecut.ir import annotations, extract
from edgecut.ir.annotations import Placement, Plan, Profile, Router, Side
from edgecut.ir.errors import EdgecutError, UsageError
from edgecut.ir.program import Program
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.partition import (
    codings,
    measuring,
    objective,
    planning,
    privacy,
    reader,
    router,
    together,
    win,
)
from edgecut.passes.partition.envelope import Band
from edgecut.passes.partition.measuring import Measured
from edgecut.passes.partition.mixed import Budget
from edgecut.passes.partition.objective import Family, Situation
from edgecut.passes.partition.planning import Known, Posed, Request
from edgecut.passes.partition.quantities import Crossings, Memory, Priced
from edgecut.passes.partition.together import Judge
from edgecut.targets.spec import Device, Network, load_device, load_network


@dataclass(frozen=True)
class Partition(Pass):
    """Find the best cut for a network, and all others that are the best at some bandwidth, exactly.

    Solving takes less time than the cache would, so results are cached only where cuts are measured: the same
    build then has the same figures.
    """

    name = "partition"
    version = 2

    network: str = option("wifi", help="Network between the two sides: a name, or a .toml file.")
    objective: Literal["latency", "energy", "cost", "throughput", "weighted"] = option(
        "latency", help="What to minimize."
    )
    weights: tuple[str, ...] = option((), help='Per s, J and USD: ["latency=1","energy=0.5"]; with weighted.')
    cut: str | None = option(None, help="Take this cut: its crossing tensors joined by '+'.")
    mode: Literal["best", "features", "input"] = option(
        "best",
        help="The best cut; the one before the head; or the edge alone where it is sure, else the cloud.",
    )
    head: str | None = option(
        None, help="Node that begins the head, or tensor that it reads; none: the last spatial tensor."
    )
    agreement: float = option(0.99, help="With mode=input: share of answers that agree with the model.")
    data: Path | None = option(
        None, help="Real inputs: a router is calibrated on them, encodings are judged on them.", file=True
    )
    max_input_bytes: int | None = option(None, help="With mode=input: larger ones go straight to the cloud.")
    max_latency_ms: float | None = option(None, help="Budget: milliseconds per inference.")
    max_energy_j: float | None = option(None, help="Budget: joules that the device draws per inference.")
    max_cost_usd: float | None = option(None, help="Budget: US dollars per inference.")
    max_memory_mb: float | None = option(None, help="Budget: weights and peak activations on the edge.")
    max_crossings: int | None = option(None, help="Budget: number of tensors that cross.")
    best_effort: bool = option(False, help="Go on with the nearest where no cut keeps to the budgets.")
    require_win: str | None = option(None, help="Fail unless splitting wins by this, such as 10%.")
    measure: bool = option(False, help="Build and time the cuts, and plan with what they took.")
    runs: int = option(0, help="With measure: timed inferences at most; 0: as time allows.")
    threads: int = option(1, help="With measure: CPU threads on either side.")
    min_agreement: float | None = option(
        None, help="Budget of boundary: share of answers with the same top-1, 0 to 1."
    )
    max_accuracy_drop: float | None = option(None, help="Budget of boundary: points of top-1, with labels.")
    min_sqnr: float | None = option(None, help="Budget of boundary: dB at the worst output.")
    boundary: str = option(
        "none", help="How tensors are sent: as they are held; auto: in the best encoding; or in this one."
    )
    private: tuple[str, ...] = option((), help="Inputs that must not leave the device: INPUT or INPUT=LABEL.")
    declassify: tuple[str, ...] = option((), help="Nodes whose outputs may leave it all the same.")
    up_mbps: float | None = option(None, help="Uplink bandwidth, in place of the network's.")
    rtt_ms: float | None = option(None, help="Round trip, in place of the network's.")
    load: float = option(1.0, help="How many times longer the server takes than when it was profiled.")
    edge: str | None = option(None, help="Device whose power counts; the profiled one unless given.")
    cloud: str | None = option(None, help="Server whose price counts; the profiled one unless given.")

    def __post_init__(self) -> None:
        """Refuse options that make no sense, before anything is done.

        Raises:
            UsageError: One is out of its range, or does not go with another.
        """
        object.__setattr__(self, "cacheable", self.measure)
        positive = ("up_mbps", "load", *(name for name in vars(self) if name.startswith("max_")))
        for name in positive:
            value = getattr(self, name)
            if value is not None and value <= 0 and name != "max_crossings":
                raise UsageError("has to be above 0", where=f"partition{{{name}}}")
        for name in ("rtt_ms", "max_crossings"):
            if (getattr(self, name) or 0) < 0:
                raise UsageError("is below 0", where=f"partition{{{name}}}")
        if bool(self.weights) != (self.objective == "weighted"):
            raise UsageError("weights go with objective=weighted", where="partition{weights}")
        if self.head is not None and self.mode != "features":
            raise UsageError("goes with mode=features", where="partition{head}")
        if self.cut is not None and self.mode != "best":
            raise UsageError("give a cut or a mode, not both", where="partition{cut}")
        if self.mode == "input":
            self._check_router()
        elif self.max_input_bytes is not None:
            raise UsageError("goes with mode=input", where="partition{max_input_bytes}")
        if self.min_agreement is not None and not 0 < self.min_agreement <= 1:
            raise UsageError("has to be above 0, and 1 at most", where="partition{min_agreement}")
        errors = (self.min_agreement, self.max_accuracy_drop, self.min_sqnr)
        if self.boundary == codings.AUTO and all(limit is None for limit in errors):
            hint = "min_agreement, max_accuracy_drop or min_sqnr"
            raise UsageError("needs an error budget", where="partition{boundary=auto}", hint=hint)
        if self.boundary != codings.NONE and self.mode == "input":
            raise UsageError("goes with the other modes", where="partition{boundary}")
        if self.require_win is not None:
            win.percentage(self.require_win)
        if self.declassify and not self.private:
            raise UsageError("goes with private", where="partition{declassify}")

    def _check_router(self) -> None:
        if self.data is None:
            raise UsageError("needs real inputs", where="partition{mode=input}", hint="--data DATA")
        if not 0 < self.agreement < 1:
            raise UsageError("has to be above 0 and below 1", where="partition{agreement}")
        if self.measure or self.require_win:
            raise UsageError("measure and require_win go with the other modes", where="partition{mode=input}")

    def files(self) -> list[Path]:
        """The user's target files, and the data."""
        names = (self.network, self.edge, self.cloud)
        return [*super().files(), *(Path(n) for n in names if n and n.endswith((".toml", ".json")))]

    def check_before(self, program: Program) -> None:
        """Raise where the program has not been profiled."""
        annotations.require(program.model, Profile, reader.HINT)

    def run(self, program: Program, context: Context) -> Program:
        """Annotate the model with the plan, and every node with its side under the chosen cut."""
        request = self.request(program)
        posed = planning.pose(program, request)
        annotations.drop(program.model, Router)
        made = (
            self._routed(posed, request, context) if self.mode == "input" else self._planned(posed, context)
        )
        if self.require_win is not None:
            win.require(made, win.percentage(self.require_win))
        annotations.put(program.model, made)
        place(program, made)
        if request.labels is not None:
            sent = {name for figures in made.cuts for name in figures.cut.crossing}
            privacy.annotate(program, request.labels, sorted(sent))
        context.metrics.update(_metrics(made))
        return program

    def _routed(self, posed: Posed, request: Request, context: Context) -> Plan:
        assert self.data is not None
        found = inputs.load(self.data, posed.program.inputs)
        wanted = router.Wanted(self.agreement, self.max_input_bytes)
        made, rule = router.plan(posed, request, wanted, found, context)
        annotations.put(posed.program.model, rule)
        return made

    def _planned(self, posed: Posed, context: Context) -> Plan:
        measured: Measured | None = None
        known: Known | None = None
        sides: tuple[Side, ...] = ()
        if self.measure:
            at = self.request(posed.program)
            sides = measuring.reachable(at.situation)
            measured = Measured(posed, at, self.runs, self.threads)

        def offer(wanted: Request) -> list[Band]:
            nonlocal known
            known = measured.at(wanted, context) if measured else None
            return planning.offered(posed, wanted, known)

        request, judged = self.settled(posed, context.warn, offer)
        if known is None and measured is not None:
            offer(request)
        told = functools.partial(together.told, posed, judged)
        made = planning.plan(posed, request, known, told, sides)
        if judged is None and any(len(f.cut.encodings) > 1 for f in made.cuts):
            context.warn("what encodings do together was not measured: that takes --data")
        return made

    def settled(
        self,
        posed: Posed,
        warn: Callable[[str], None],
        offer: Callable[[Request], list[Band]] | None = None,
    ) -> tuple[Request, Judge | None]:
        """The request with budgets that its plan keeps to by measurement too, and what has measured that.

        Args:
            posed: The program.
            warn: Told what had to be widened or given up.
            offer: The placements of a plan; by default those that are the best by prediction.

        Raises:
            ConstraintError: No cut keeps to the budgets.
        """
        request, missed = planning.eased(posed, self.request(posed.program))
        for sentence in missed:
            warn(sentence)
        if self.boundary == codings.NONE or self.data is None:
            return request, None
        judged = together.judge(posed, self.data)
        by_prediction = functools.partial(planning.offered, posed)
        return together.settled(request, judged, offer or by_prediction, warn), judged

    def request(self, program: Program) -> Request:
        """What these options ask for.

        Raises:
            UsageError: A target, an input or a node is unknown, or a target lacks figures.
        """
        at = self.situation(program)
        labels = privacy.taint(program, self.private, self.declassify) if self.private else None
        return Request(
            situation=at,
            objective=self.objective,
            pricing=self._pricing(),
            budgets=self._budgets(at),
            best_effort=self.best_effort,
            forced=self.cut,
            features=self.mode == "features",
            head=self.head,
            labels=labels,
            boundary=self.boundary,
        )

    def situation(self, program: Program) -> Situation:
        """The network and the targets, with what the options change about them."""
        profile = annotations.require(program.model, Profile, reader.HINT)
        edge = load_device(self.edge) if self.edge else _device(profile.edge)
        cloud = load_device(self.cloud) if self.cloud else _device(profile.cloud)
        return Situation(self._network(), edge, cloud, self.load)

    def _network(self) -> Network:
        network = load_network(self.network)
        if self.up_mbps is not None:
            network = replace(network, up_mbps=self.up_mbps)
        return network if self.rtt_ms is None else replace(network, rtt_ms=self.rtt_ms)

    def _pricing(self) -> Callable[[Situation], Family] | None:
        if self.objective == "weighted":
            return functools.partial(objective.weighted, weights=_weights(self.weights))
        return objective.LINEAR.get(self.objective)

    def _budgets(self, at: Situation) -> tuple[Budget, ...]:
        limits = {
            "latency": self.max_latency_ms and self.max_latency_ms / 1000,
            "energy": self.max_energy_j,
            "cost": self.max_cost_usd,
        }
        found = [
            Budget(Priced(name, objective.UNITS[name], objective.LINEAR[name](at).at(at.delay)), limit)
            for name, limit in limits.items()
            if limit is not None
        ]
        if self.max_memory_mb is not None:
            found.append(Budget(Memory(), self.max_memory_mb * 1e6))
        if self.max_crossings is not None:
            found.append(Budget(Crossings(), self.max_crossings))
        if self.boundary == codings.NONE:
            return tuple(found)  # what quantize did is the same for every cut, and it has judged that itself
        errors = codings.budgets(self.min_agreement, self.max_accuracy_drop, self.min_sqnr)
        return (*found, *errors)


def place(program: Program, plan: Plan) -> None:
    """Write the side of every node under the chosen cut."""
    edge = extract.edge_nodes(program, plan.chosen.cut)
    for node in program.nodes:
        annotations.put(node, Placement("edge" if node in edge else "cloud"))


def _device(name: str) -> Device | None:
    """The device of the profile; None if its file is not at hand, which only some figures need."""
    try:
        return load_device(name)
    except EdgecutError:
        return None


def _weights(texts: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, weight = text.partition("=")
        try:
            found[name] = float(weight)
        except ValueError:
            found[name] = math.nan
        if not math.isfinite(found[name]):
            raise UsageError(f"is {text!r}", where="partition{weights}", hint="such as latency=1,energy=0.5")
    return found


def _metrics(plan: Plan) -> dict[str, float | str]:
    """Names only: times may be measured, and metrics have to be the same for the same input."""
    return {"cut": plan.chosen.cut.name, "cuts": len(plan.cuts)}
