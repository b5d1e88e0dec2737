"""Times a program in LiteRT, on this machine or on a device: operators, and the whole.

The program is emitted as the TFLite file that would ship, run by the same code on any machine
(`edgecut.profilers.ondevice`), and the times of its kernels are handed back to the program's groups
through the source map in the file. Groups that the edge cannot run divide the program into layers; each
layer of those that it can run is emitted and timed on its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx_ir as oir

from edgecut.ir import extract, files
from edgecut.ir.annotations import Conditions, Cut, Time
from edgecut.ir.program import Program
from edgecut.profilers import attribution, intervals, kernels, reach
from edgecut.profilers.attribution import Kernel
from edgecut.profilers.kernels import Operator
from edgecut.profilers.plan import Groups
from edgecut.profilers.reach import Settings
from edgecut.profilers.record import FileProfile, SignatureTimes, Stats
from edgecut.profilers.result import GroupTimes
from edgecut.targets import tflite
from edgecut.targets.spec import FILE, Device

Correction = Literal["none", "scaled", "intervals"]


@dataclass(frozen=True)
class Layer:
    """Groups that were emitted and timed as one file."""

    times: dict[str, Time]
    total: Time
    operators_s: float
    correction: Correction
    attribution: str
    profile: FileProfile


def measure(
    program: Program, device: Device, groups: Groups, able: AbstractSet[str], settings: Settings
) -> GroupTimes:
    """Time every group that the edge can run.

    Args:
        program: The program.
        device: Where to run it.
        groups: All fusion groups.
        able: Ids of those that the edge can run.
        settings: How to measure.

    Raises:
        ModelError: LiteRT refuses what was emitted.
        TargetError: The device cannot be reached, or lacks the runtime.
    """
    done = [
        _layer(extract_groups(program, groups, ids), device, groups.only(ids), settings)
        for ids in layers(groups, able)
    ]
    times = {g: time for layer in done for g, time in layer.times.items()}
    total = done[0].total if len(done) == 1 and len(times) == len(groups.order) else None
    return GroupTimes(times, total, _conditions(done, settings.threads))


def race(programs: Mapping[str, Program], device: Device, settings: Settings) -> dict[str, Time]:
    """Time whole programs in turns, by their names, so that all see the device in the same states.

    Raises:
        ConstraintError: The edge cannot run all of one.
        ModelError: LiteRT refuses what was emitted, or it exceeds what a file may hold.
        TargetError: The device cannot be reached, or cannot hold them all.
    """
    with tempfile.TemporaryDirectory(prefix="edgecut-") as folder:
        path = Path(folder) / "model.tflite"
        files.write(path, tflite.side_by_side(programs))
        found = reach.run(device, path, settings, operators=False)
    return {s.name: Time(s.whole.median_s, "measured", s.whole.spread) for s in found.signatures}


def layers(groups: Groups, able: AbstractSet[str]) -> list[list[str]]:
    """Groups that the edge can run, divided so that no path between two of a layer leaves it."""
    depth: dict[str, int] = {}
    found: dict[int, list[str]] = {}
    for group in groups.order:
        depth[group] = max((depth[b] + (b not in able) for b in groups.before[group]), default=0)
        if group in able:
            found.setdefault(depth[group], []).append(group)
    return [found[d] for d in sorted(found)]


def extract_groups(program: Program, groups: Groups, ids: Sequence[str]) -> Program:
    """A program of these groups alone: it reads what they read from others, and gives what others read."""
    if len(ids) == len(groups.order):
        return program
    inside = {name for i in ids for name in groups.members[i]}
    free = extract.duplicable_nodes(program)
    inputs: dict[str, None] = {}
    outputs: dict[str, None] = {}
    for node in (n for n in program.nodes if n.name in inside):
        read = [_source(v, free) for v in extract.reads(node)]
        inputs.update((v.name or "", None) for v in read if v is not None and _maker(v) not in inside)
        outputs.update((v.name or "", None) for v in node.outputs if _leaves(v, inside))
    return extract.subgraph(program, list(inputs), list(outputs), f"{program.graph.name}_part")


def _source(value: oir.Value | None, free: AbstractSet[oir.Node]) -> oir.Value | None:
    """The value that is really read, through duplicable nodes; None where it is constant."""
    while value is not None and not extract.is_constant(value):
        node = value.producer()
        if node is None or node not in free:
            return value
        value = next((v for v in node.inputs if not extract.is_constant(v)), None)
    return None


def _maker(value: oir.Value) -> str | None:
    node = value.producer()
    return None if node is None else node.name


def _leaves(value: oir.Value, inside: AbstractSet[str]) -> bool:
    return value.is_graph_output() or any(user.name not in inside for user, _ in value.uses())


def emit(program: Program) -> bytes:
    """The file that is timed: the whole program as one signature.

    Raises:
        ConstraintError: The edge cannot run all of it.
    """
    return tflite.emit(program, [extract.named_cut(program, "edge-only")]).data


def _layer(program: Program, device: Device, groups: Groups, settings: Settings) -> Layer:
    """Emit and time a program that the edge can run completely."""
    with tempfile.TemporaryDirectory(prefix="edgecut-") as folder:
        path = Path(folder) / "model.tflite"
        data = emit(program)
        files.write(path, data)
        profile = reach.run(device, path, settings)
        signature = profile.signatures[0]
        raw = _attribute(data, signature, groups)
        whole, known = signature.whole, sum(raw.values())
        correction: Correction = "scaled"
        by_hand = device.reach.startswith(FILE)  # nothing else can be timed there
        if intervals.apart(known, whole.median_s) and not by_hand:
            count = intervals.affordable(whole.median_s, profile.load_s)
            ends = intervals.places(groups.order, groups.weights, count)
            cuts = [groups.prefix(program, end) for end in ends]
            prefixes = _prefixes(program, device, cuts, whole, Path(folder), settings)
            raw = intervals.correct(raw, groups.order, ends, prefixes, whole.median_s)
            correction = "intervals"
    times = attribution.scale(raw, whole.median_s)
    return Layer(
        {g: Time(seconds, "measured", whole.spread) for g, seconds in times.items()},
        Time(whole.median_s, "measured", whole.spread),
        known if signature.operators else 0.0,
        correction,
        "LiteRT profiler" if signature.operators else f"intervals; {signature.note}",
        profile,
    )


def _attribute(data: bytes, signature: SignatureTimes, groups: Groups) -> dict[str, float]:
    """Seconds of every group by the runtime's own profiler; predicted proportions where there is none."""
    if not signature.operators:
        return dict(groups.weights)
    matched = kernels.match(_operators(data, signature.name), signature.operators)
    timed = [_kernel(o, t.seconds, groups) for o, t in zip(matched, signature.operators, strict=True)]
    return attribution.attribute(timed, groups.order, groups.before, groups.weights)


def _operators(data: bytes, signature: str) -> list[Operator]:
    """The operators of a signature, in order, with the nodes that they came from."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data)
    named = {model.SignatureDefs(i).SignatureKey().decode(): i for i in range(model.SignatureDefsLength())}
    graph = model.Subgraphs(model.SignatureDefs(named[signature]).SubgraphIndex())
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    codes = [
        model.OperatorCodes(graph.Operators(i).OpcodeIndex()).BuiltinCode()
        for i in range(graph.OperatorsLength())
    ]
    sources = tflite.source_map(data)[signature]
    return [Operator(names[code], tuple(nodes)) for code, nodes in zip(codes, sources, strict=True)]


def _kernel(operator: Operator | None, seconds: float, groups: Groups) -> Kernel:
    sources = operator.sources if operator else ()
    return Kernel(tuple(dict.fromkeys(groups.of[s] for s in sources if s in groups.of)), seconds)


def _prefixes(
    program: Program, device: Device, cuts: Sequence[Cut], whole: Stats, folder: Path, settings: Settings
) -> list[Stats]:
    """Timings of prefixes of the graph, one signature each in one file, in turns with the whole."""
    if not cuts:
        return []
    path = folder / "prefixes.tflite"
    emitted = tflite.emit(program, [*cuts, extract.named_cut(program, "edge-only")])
    files.write(path, emitted.data)
    seconds = intervals.BUDGET_S / (len(cuts) + 1)
    profile = reach.run(device, path, settings, operators=False, seconds=seconds)
    by_name = {s.name: s.whole for s in profile.signatures}
    *parts, beside = (by_name[emitted.signatures[i]] for i in range(len(cuts) + 1))
    return [intervals.relative(part, beside, whole) for part in parts]


def _conditions(done: Sequence[Layer], threads: int) -> Conditions:
    """What the layers have in common, and their sums."""
    if not done:
        return Conditions("", threads)
    first = done[0].profile
    where = first.machine
    return Conditions(
        key="",
        threads=threads,
        runs=min(layer.profile.signatures[0].whole.runs for layer in done),
        operators_s=sum(layer.operators_s for layer in done),
        correction="intervals" if any(layer.correction == "intervals" for layer in done) else "scaled",
        attribution=done[0].attribution,
        outliers=sum(layer.profile.signatures[0].whole.outliers for layer in done),
        interrupted=sum(layer.profile.signatures[0].whole.interrupted for layer in done),
        load_s=sum(layer.profile.load_s for layer in done),
        first_s=sum(layer.profile.signatures[0].first_s for layer in done),
        memory_bytes=max(layer.profile.memory_bytes for layer in done),
        runtime=first.runtime,
        machine=where.name,
        governor=where.governor,
        mhz=where.mhz,
        celsius=where.celsius_after if where.celsius_after is not None else where.celsius,
    )
