"""Mixed precision: kernels return to float in the order of damage per time saved, until the budget holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as oir

from edgecut.ir import annotations, work
from edgecut.ir.annotations import Cost, Profile
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program
from edgecut.passes.quantize.budget import Budget, Judge, Quality
from edgecut.passes.quantize.integers import Calibrated
from edgecut.passes.quantize.region import Region
from edgecut.profilers import analytic
from edgecut.targets.spec import Device, load_device

# Where no profile says more: int8 kernels are two to three times faster, and time follows the operations.
_SAVED_PER_MAC = 1e-10


@dataclass(frozen=True)
class Decision:
    """What becomes of one kernel, and why."""

    nodes: tuple[str, ...]
    sqnr_db: float
    """Of the whole model's output with this kernel alone in integers."""
    saved_s: float
    """Seconds that the integer kernel is faster on the edge target."""
    integer: bool

    def __str__(self) -> str:
        kind = "int8" if self.integer else "float"
        return f"{kind}, {self.sqnr_db:.1f} dB alone, saves {1e6 * self.saved_s:.1f} us"


@dataclass(frozen=True)
class Mixed:
    """The model within the budget, or the nearest to it."""

    program: Program
    quality: Quality
    decisions: tuple[Decision, ...]
    """In topological order."""

    @property
    def kept(self) -> frozenset[str]:
        """Names of the nodes that stay in float."""
        return frozenset(n for d in self.decisions if not d.integer for n in d.nodes)


def search(
    model: Calibrated, keep: frozenset[str], budget: Budget, judge: Judge, advance: Callable[[], None]
) -> Mixed:
    """Quantize as much as the budget allows.

    Args:
        model: Calibrated float model.
        keep: Nodes that stay in float in any case.
        budget: What may be lost.
        judge: Measures it, on data that the ranges were not found from.
        advance: Called after each kernel that was measured (there are `count` of them).
    """
    found = model.region(keep)
    saved = saving(model.program, found)
    slower = frozenset(n for nodes, gain in saved.items() if gain <= 0 for n in nodes)
    everything = frozenset(n.name or "" for n in found.nodes)
    damage: dict[tuple[str, ...], Quality] = {}
    for nodes in saved:
        damage[nodes] = judge.quality(model.quantized(keep | (everything - set(nodes))))
        advance()
    # Noise of independent kernels adds up as power.
    price = {n: 10 ** (-damage[n].sqnr_db / 10) / max(saved[n], 1e-12) for n in saved if saved[n] > 0}
    order = sorted(price, key=lambda nodes: price[nodes], reverse=True)

    def attempt(count: int) -> tuple[Program, Quality]:
        floats = keep | slower | {n for nodes in order[:count] for n in nodes}
        program = model.quantized(frozenset(floats))
        return program, judge.quality(program)

    count, program, quality = _fewest(attempt, len(order), budget)
    floats = set(order[:count])
    decisions = [
        Decision(nodes, damage[nodes].sqnr_db, gain, gain > 0 and nodes not in floats)
        for nodes, gain in saved.items()
    ]
    return Mixed(program, quality, tuple(decisions))


def count(model: Calibrated, keep: frozenset[str]) -> int:
    """How many kernels `search` measures."""
    return len(model.region(keep).chains)


def saving(program: Program, found: Region) -> dict[tuple[str, ...], float]:
    """Seconds that the integer kernel of each chain of nodes is faster, in topological order."""
    device = _device(program)
    return {tuple(n.name or "" for n in chain): _saved(chain, device) for chain in found.chains}


def _fewest(
    attempt: Callable[[int], tuple[Program, Quality]], most: int, budget: Budget
) -> tuple[int, Program, Quality]:
    """The fewest kernels in float with which the budget holds; all of them where it never does."""
    program, quality = attempt(0)
    if budget.holds(quality) or not most:
        return 0, program, quality
    low, high = 0, most
    best = (most, *attempt(most))
    while high - low > 1:
        middle = (low + high) // 2
        program, quality = attempt(middle)
        if budget.holds(quality):
            high, best = middle, (middle, program, quality)
        else:
            low = middle
    return best


def _device(program: Program) -> Device | None:
    profile = annotations.get(program.model, Profile)
    if profile is None:
        return None
    try:
        return load_device(profile.edge)
    except UsageError:  # its file has gone since; the operations say roughly the same
        return None


def _saved(chain: tuple[oir.Node, ...], device: Device | None) -> float:
    """Measured float time, less what the target's figures say that int8 takes of it."""
    if device is None or device.compute is None:
        return sum(map(work.macs, chain)) * _SAVED_PER_MAC + 1e-9
    real = work.group(chain)
    integer = work.Work(real.kind, "int8", real.macs, real.bytes // 4, real.weight_bytes // 4)
    slow, fast = (analytic.group_seconds(device, w) for w in (real, integer))
    costs: Mapping[oir.Node, Cost | None] = {n: annotations.get(n, Cost) for n in chain}
    measured = sum(c.edge.seconds for c in costs.values() if c is not None and c.edge is not None)
    return (measured or slow) * (1 - fast / slow)
