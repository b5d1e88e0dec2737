"""What integers save of each kernel's time on the edge target, and which kernels they do not pay for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import onnx_ir as oir

from edgecut.ir import annotations, work
from edgecut.ir.annotations import Cost, Group, Profile, Time
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program, nbytes
from edgecut.passes.quantize import region
from edgecut.passes.quantize.region import Region
from edgecut.profilers import analytic
from edgecut.targets.spec import Compute, Device, load_device

Chain = tuple[oir.Node, ...]
Integers = Literal["int8", "int16"]
"""Of activations."""

# Where no profile says more: int8 kernels are two to three times faster, and time follows the operations.
_SAVED_PER_MAC = 1e-10
# What is converted on a device without figures of its own goes by this one's.
_LIKE = "x86-host"


@dataclass(frozen=True)
class Saving:
    """Seconds that the integer kernel of a chain of nodes is faster, and how that is known."""

    seconds: float
    known: Literal["measured", "predicted", "estimated"]


def savings(program: Program, found: Region, precision: Integers = "int8") -> dict[Chain, Saving]:
    """The saving of each chain, in topological order: by the profile of both precisions, if there is one."""
    device, parts = _device(program), _parts(program, found)
    return {chain: _saving(chain, parts[chain], device, precision) for chain in found.chains}


def fastest(program: Program, precision: Integers) -> Literal["mixed", "integers", "floats"] | None:
    """How the whole is fastest on the edge target, if it was timed there.

    What kernels do to each other no kernel's own time tells: one in float between others keeps channel
    shuffles from being absorbed, say. So where wholes were timed, they have the last word.
    """
    profile = annotations.get(program.model, Profile)
    wholes = None if profile is None else profile.edge_int8 if precision == "int8" else profile.edge_int16
    return None if wholes is None else wholes.fastest


def in_float(
    program: Program, saved: Mapping[Chain, Saving], whole: str | None, keep: frozenset[str] = frozenset()
) -> list[Chain]:
    """Chains that stay in float for speed: `not_faster`, unless the whole is faster all one way."""
    if whole == "integers":
        return []
    return list(saved) if whole == "floats" else not_faster(program, saved, keep)


def not_faster(
    program: Program, saved: Mapping[Chain, Saving], keep: frozenset[str] = frozenset()
) -> list[Chain]:
    """Chains that are faster in float, with all that follows from it.

    Values that they exchange with integer kernels have to be converted, and what has no weights is in float
    as well once it reads floats. Neighbours that lose time are judged together first, since nothing is
    converted between them, then each by itself.

    Args:
        program: The program of the chains.
        saved: What integers save of each chain.
        keep: Names of nodes that stay in float in any case.
    """
    if annotations.get(program.model, Profile) is None:
        return []
    device = _device(program) or load_device(_LIKE)
    losing = [chain for chain, saving in saved.items() if saving.seconds <= 0]
    floats: set[Chain] = set()
    cost = _cost(program, floats, saved, keep, device)
    for together in (*_neighbours(losing), *([chain] for chain in losing)):
        tried = floats.union(together)
        if tried == floats:
            continue
        then = _cost(program, tried, saved, keep, device)
        if then < cost:
            floats, cost = tried, then
    return [chain for chain in saved if chain in floats]


def _cost(
    program: Program,
    floats: set[Chain],
    saved: Mapping[Chain, Saving],
    keep: frozenset[str],
    device: Device,
) -> float:
    """Seconds that these chains in float take longer than all on integers, negative where they are faster."""
    names = keep | {n.name or "" for chain in floats for n in chain}
    left = region.select(program, names).nodes
    out = {chain for chain in saved if chain[-1] not in left}
    return sum(saved[chain].seconds for chain in out) + _conversions(out, saved, device)


def _neighbours(chains: Iterable[Chain]) -> list[list[Chain]]:
    """Chains that read of each other, together."""
    groups: list[list[Chain]] = []
    for chain in chains:
        touching = [g for g in groups if any(_reads(chain, other) for other in g)]
        groups = [g for g in groups if g not in touching]
        groups.append([*(c for g in touching for c in g), chain])
    return groups


def _reads(chain: Chain, other: Chain) -> bool:
    return any(v in n.inputs for n in chain for v in other[-1].outputs)


def _conversions(floats: set[Chain], saved: Mapping[Chain, Saving], device: Device) -> float:
    """Seconds to turn the values between chains in float and chains on integers, each once."""
    of = {node: chain for chain in saved for node in chain}
    total = 0.0
    for value in {v for chain in saved for n in chain for v in region.activations(n)}:
        producer = value.producer()
        made = producer is not None and producer in of and of[producer] not in floats
        readers = {of[n] in floats for n, _ in value.uses() if n in of}
        if made and True in readers:
            total += _conversion(nbytes(value), nbytes(value), device)
        elif not made and False in readers:
            total += _conversion(nbytes(value), nbytes(value) // 4, device)
    return total


def _conversion(size: int, output: int, device: Device) -> float:
    """Seconds to make so many bytes of integers from floats of a size, or the floats from integers."""
    figures = device if device.compute is not None else load_device(_LIKE)
    return analytic.group_seconds(figures, work.Work("quantize", "float32", 0, size + size // 4, 0, output))


def _device(program: Program) -> Device | None:
    profile = annotations.get(program.model, Profile)
    if profile is None:
        return None
    try:
        return load_device(profile.edge)
    except UsageError:  # its file has gone since; the operations say roughly the same
        return None


def _parts(program: Program, found: Region) -> dict[Chain, list[tuple[Cost, float]]]:
    """The costs of the fusion groups that a chain has nodes in, and its part of what each of them saves.

    Several chains in one group share that by their operations.
    """
    costs = {n.name or "": c for n in program.nodes if (c := annotations.get(n, Cost)) is not None}
    groups = {chain: _groups(chain) & costs.keys() for chain in found.chains}
    weights = {chain: 1 + sum(map(work.macs, chain)) for chain in found.chains}
    whole: dict[str, int] = {}
    for chain, names in groups.items():
        for name in names:
            whole[name] = whole.get(name, 0) + weights[chain]
    return {
        chain: [(costs[name], weights[chain] / whole[name]) for name in sorted(names)]
        for chain, names in groups.items()
    }


def _groups(chain: Chain) -> set[str]:
    """The last nodes of the fusion groups that a chain has nodes in."""
    known = [(n, annotations.get(n, Group)) for n in chain]
    return {(n.name or "") if group is None else group.id for n, group in known}


def _saving(
    chain: Chain, parts: Iterable[tuple[Cost, float]], device: Device | None, precision: Integers
) -> Saving:
    timed = [(c.edge, c.edge_int8 if precision == "int8" else c.edge_int16, part) for c, part in parts]
    both = [(real, integer, part) for real, integer, part in timed if real and integer]
    if both:
        return Saving(sum(_gain(real, integer) * part for real, integer, part in both), both[0][1].source)
    if device is None or device.compute is None or not _has_figures(device.compute, precision):
        return Saving(sum(map(work.macs, chain)) * _SAVED_PER_MAC + 1e-9, "estimated")
    real, share = work.group(chain), 4 if precision == "int8" else 2
    integer = replace(
        real,
        precision=precision,
        bytes=real.bytes // share,
        weight_bytes=real.weight_bytes // 4,
        output_bytes=real.output_bytes // share,
    )
    slow, fast = (analytic.group_seconds(device, w) for w in (real, integer))
    known = sum(time.seconds * part for time, _, part in timed if time is not None)
    return Saving((known or slow) * (1 - fast / slow), "predicted")


def _has_figures(compute: Compute, precision: Integers) -> bool:
    """Whether times on these integers can be predicted; those of 16 bits are not like any others."""
    return precision == "int8" or precision in compute.peak_gmacs


def _gain(real: Time, integer: Time) -> float:
    """Seconds saved. A difference within the spread of the measurements is none at all."""
    gain = real.seconds - integer.seconds
    noise = max(real.spread, integer.spread) * real.seconds
    return 0.0 if -noise < gain < 0 else gain
