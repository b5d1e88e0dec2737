"""Times of a float program's groups on the edge, were they run by integer kernels.

What integers a kernel works on does not change its time, so nothing has to be calibrated: the program is
quantized with ranges made up, profiled, and the times go to the groups that the nodes are of.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import onnx_ir as oir

from edgecut.ir import annotations
from edgecut.ir.annotations import Origin, Time, Wholes
from edgecut.ir.program import Program
from edgecut.passes.profile.grouping import Grouped
from edgecut.passes.quantize import integers, region, savings
from edgecut.profilers.result import GroupTimes

_CONVERTING = frozenset({"QuantizeLinear", "DequantizeLinear"})
Race = Callable[[Mapping[str, Program]], Mapping[str, Time]]
Profiler = Callable[[Program], tuple[Sequence[Grouped], GroupTimes]]


def times(
    program: Program, groups: Sequence[Grouped], profiler: Profiler, scheme: integers.Scheme
) -> dict[str, Time]:
    """Seconds of each group, by its id; none where the edge cannot run it, or nothing can be quantized.

    Args:
        program: Float program; it is not changed.
        groups: Its groups.
        profiler: Groups a program, and times them on the edge.
        scheme: Which integers.
    """
    if not region.select(program).nodes:
        return {}
    found, timed = profiler(integers.uncalibrated(program, scheme).quantized())
    return _attributed(groups, found, timed.groups)


def wholes(program: Program, scheme: integers.Scheme, race: Race) -> Wholes | None:
    """Times of the whole as its kernels' own times would have it mixed, all on integers, and in float.

    Args:
        program: Float program, with the costs of both precisions; it is not changed.
        scheme: Which integers.
        race: Times programs on the edge in turns.
    """
    model = integers.uncalibrated(program, scheme)
    saved = savings.savings(model.program, model.region(), model.dtype)
    slower = savings.not_faster(model.program, saved, model.slow)
    if not saved:
        return None
    programs = {"floats": program, "integers": model.quantized()}
    if 0 < len(slower) < len(saved):
        programs["mixed"] = model.quantized(frozenset(n.name or "" for chain in slower for n in chain))
    found = race(programs)
    mixed = found.get("mixed") or found["floats" if slower else "integers"]
    return Wholes(mixed, found["integers"], found["floats"])


def _attributed(
    groups: Sequence[Grouped], found: Sequence[Grouped], times: Mapping[str, Time]
) -> dict[str, Time]:
    """Give the times of the quantized groups to those of the float program that have nodes in them.

    Where several have, in proportion to their operations; where none has (the quantization of an input),
    to none.
    """
    home = {n.name: g for g in groups for n in g.nodes}
    seconds: dict[str, float] = {}
    spread: dict[str, float] = {}
    source: Literal["measured", "predicted"] = "predicted"
    for group in found:
        time = times.get(group.id)
        owners = {home[name].id: home[name].work for n in group.nodes for name in _names(n) if name in home}
        if time is None or not owners:
            continue
        source = time.source
        whole = sum(w.macs + 1 for w in owners.values())
        for owner, work in owners.items():
            seconds[owner] = seconds.get(owner, 0.0) + time.seconds * (work.macs + 1) / whole
            spread[owner] = max(spread.get(owner, 0.0), time.spread)
    return {owner: Time(total, source, spread[owner]) for owner, total in seconds.items()}


def _names(node: oir.Node) -> tuple[str, ...]:
    """A node's name, and those of what it was made from (the quantizer writes some operators as two)."""
    origin = annotations.get(node, Origin)
    return (node.name or "", *(origin.nodes if origin and node.op_type not in _CONVERTING else ()))
