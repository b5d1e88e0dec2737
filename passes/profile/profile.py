"""The pass that gives every fusion group its cost on the edge and in the cloud."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgecut.ir import annotations
from edgecut.ir.annotations import Conditions, Cost, Profile, Time, Wholes
from edgecut.ir.errors import ConstraintError, ModelError, TargetError, UsageError
from edgecut.ir.program import Program, static_shape
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.profile import fit, grouping, precision, sides
from edgecut.passes.profile.grouping import Grouped
from edgecut.profilers.result import GroupTimes
from edgecut.targets.spec import FILE, Device, load_device


@dataclass(frozen=True)
class ProfileTargets(Pass):
    """Measure, or else predict, what every fusion group costs on the edge and in the cloud.

    What is known already, of the same targets and of groups that have not changed, is kept.
    """

    name = "profile"
    version = 12
    cacheable = True

    edge: str = option("local", help="Edge device: a name, a .toml file, ssh://user@host, or profile.json.")
    cloud: str = option("local", help="Server: a name, or a .toml file.")
    threads: int = option(1, help="CPU threads on either side.")
    runs: int = option(0, help="Timed inferences at most; 0: as many as there is time for.")
    again: bool = option(False, help="Measure again what is known already.")
    keep: bool = option(False, help="Leave what was sent on a remote device.")
    int8: bool = option(False, help="Time a float program's groups on the edge with int8 kernels too.")
    int16x8: bool = option(False, help="The same with kernels on activations of 16 bits.")

    def __post_init__(self) -> None:
        # Whoever asks to measure again does not want an earlier answer.
        object.__setattr__(self, "cacheable", not self.again)

    def files(self) -> list[Path]:
        """The user's target files, and profiles measured by hand."""
        return [Path(name) for name in (self.edge, self.cloud) if name.endswith((".toml", ".json"))]

    def check_before(self, program: Program) -> None:
        """Raise where options make no sense or shapes are not known."""
        for name, least in (("threads", 1), ("runs", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"has to be at least {least}", where=f"profile{{{name}}}")
        for value in program.graph.inputs:
            if static_shape(value) is None:
                raise ModelError("has no static shape", where=value.name, hint="give --shape for the inputs")

    def run(self, program: Program, context: Context) -> Program:
        """Annotate groups with their costs, and the model with the conditions they came about in."""
        edge, cloud = _device(self.edge, "edge"), _device(self.cloud, "cloud")
        groups = grouping.find(program, edge)
        fit.check(program, edge)
        known = {} if self.again else grouping.costs(groups)
        before = annotations.get(program.model, Profile) or Profile("", "")
        options = sides.Options(self.threads, self.runs, self.keep)
        kept = _known_edge(groups, known, before)
        at_edge = _side(
            sides.key(edge, "edge", options),
            kept,
            lambda: sides.edge(program, edge, groups, options),
        )
        at_cloud = _side(
            sides.key(cloud, "cloud", options),
            _known_cloud(groups, known, before),
            lambda: sides.cloud(program, cloud, groups, options),
        )
        still = known.items() if at_edge is kept else ()
        known8 = {i: cost.edge_int8 for i, cost in still if cost.edge_int8 is not None}
        known16 = {i: cost.edge_int16 for i, cost in still if cost.edge_int16 is not None}
        int8 = known8 or (self._integers(program, edge, groups, options, "int8") if self.int8 else {})
        int16 = known16 or (self._integers(program, edge, groups, options, "int16x8") if self.int16x8 else {})
        costs = {
            g.id: Cost(
                at_edge.groups.get(g.id),
                at_cloud.groups.get(g.id),
                edge_int8=int8.get(g.id),
                edge_int16=int16.get(g.id),
            )
            for g in groups
        }
        grouping.annotate(program, groups, costs)
        profile = _profile(edge, cloud, at_edge, at_cloud)
        annotations.put(program.model, profile)  # which says of what target the costs are
        wholes8 = before.edge_int8 if known8 else self._wholes(program, edge, options, int8, "int8", context)
        wholes16 = (
            before.edge_int16 if known16 else self._wholes(program, edge, options, int16, "int16x8", context)
        )
        annotations.put(program.model, replace(profile, edge_int8=wholes8, edge_int16=wholes16))
        context.metrics.update(_metrics(groups, at_edge, at_cloud))
        context.metrics |= {name: len(of) for name, of in (("int8", int8), ("int16x8", int16)) if of}
        return program

    def _integers(
        self,
        program: Program,
        edge: Device,
        groups: Sequence[Grouped],
        options: sides.Options,
        scheme: Literal["int8", "int16x8"],
    ) -> dict[str, Time]:
        """Times with integer kernels; none where the edge is one file's profile alone."""
        if edge.reach.startswith(FILE):
            return {}

        def profiler(candidate: Program) -> tuple[Sequence[Grouped], GroupTimes]:
            found = grouping.find(candidate, edge)
            return found, sides.edge(candidate, edge, found, options)

        times = precision.times(program, groups, profiler, scheme)
        has_figures = scheme == "int8" or (edge.compute is not None and "int16" in edge.compute.peak_gmacs)
        return {i: time for i, time in times.items() if has_figures or time.source == "measured"}

    def _wholes(
        self,
        program: Program,
        edge: Device,
        options: sides.Options,
        times: Mapping[str, Time],
        scheme: Literal["int8", "int16x8"],
        context: Context,
    ) -> Wholes | None:
        """Times of the whole, as far as it can be on integers; none where the edge only predicts them."""
        if {time.source for time in times.values()} != {"measured"}:
            return None
        try:
            return precision.wholes(program, scheme, lambda programs: sides.race(programs, edge, options))
        except (ConstraintError, ModelError, TargetError) as error:
            context.warn(f"{scheme} and float were not timed as wholes: {error}")
            return None


def _device(name: str, side: str) -> Device:
    device = load_device(name)
    if device.kind not in (side, "any"):
        raise UsageError(f"{device.name} is no {side} target", hint=f"it is a {device.kind} target")
    return device


def _side(key: str, known: GroupTimes | None, profile: Callable[[], GroupTimes]) -> GroupTimes:
    """What is known, if it was found under the same conditions; else what profiling gives."""
    if known is not None and known.conditions.key == key:
        return known
    found = profile()
    return replace(found, conditions=replace(found.conditions, key=key))


def _known_edge(groups: Sequence[Grouped], costs: dict[str, Cost], before: Profile) -> GroupTimes | None:
    times = {i: cost.edge for i, cost in costs.items() if cost.edge is not None}
    able = [g.id for g in groups if g.reason is None]
    return _known(able, times, before.edge_conditions, before.edge_total)


def _known_cloud(groups: Sequence[Grouped], costs: dict[str, Cost], before: Profile) -> GroupTimes | None:
    times = {i: cost.cloud for i, cost in costs.items() if cost.cloud is not None}
    return _known([g.id for g in groups], times, before.cloud_conditions, before.cloud_total)


def _known(
    wanted: Sequence[str], times: dict[str, Time], conditions: Conditions | None, total: Time | None
) -> GroupTimes | None:
    if conditions is None or not times.keys() >= set(wanted):
        return None
    return GroupTimes({i: times[i] for i in wanted}, total, conditions)


def _profile(edge: Device, cloud: Device, at_edge: GroupTimes, at_cloud: GroupTimes) -> Profile:
    return Profile(
        edge.name, cloud.name, at_edge.total, at_cloud.total, at_edge.conditions, at_cloud.conditions
    )


def _metrics(groups: Sequence[Grouped], at_edge: GroupTimes, at_cloud: GroupTimes) -> dict[str, float | str]:
    """Of the groups, and the time of the whole, which later passes outdate in the annotations."""
    sides_ = (("edge_s", at_edge), ("cloud_s", at_cloud))
    return {
        **{name: side.total.seconds for name, side in sides_ if side.total is not None},
        "groups": len(groups),
        "cloud_only": sum(g.reason is not None for g in groups),
        "macs": sum(g.work.macs for g in groups),
        "edge": _source(at_edge),
        "cloud": _source(at_cloud),
    }


def _source(times: GroupTimes) -> str:
    return ", ".join(sorted({t.source for t in times.groups.values()})) or "none"
