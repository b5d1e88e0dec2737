"""Mixed precision: kernels return to float in the order of damage per time saved, until the budget holds.

Then those come back to integers that the budget bears after all.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from edgecut.ir import annotations
from edgecut.ir.annotations import Sensitivity
from edgecut.ir.program import Program
from edgecut.passes.budget import Budget, Judge, Quality
from edgecut.passes.quantize import savings, sensitivity, weights
from edgecut.passes.quantize.integers import Calibrated
from edgecut.passes.quantize.savings import Chain, Saving
from edgecut.passes.quantize.sensitivity import Damage

NOT_FASTER = "not faster"
CONVERTED = "not faster, but converting costs more"
WHOLE = "not faster, but the whole is"
BUDGET = "budget"
NEIGHBOURS = "reads floats"
# Kernels that are tried on integers again at the end, those of least damage first.
_TAKEN_BACK = 32


@dataclass(frozen=True)
class Mixed:
    """The model within the budget, or the nearest to it."""

    program: Program
    quality: Quality | None
    """On data that nothing was found from; None without a judge."""
    integers: int
    """Nodes that run on integers."""
    floats: int
    """Nodes that could, and stay in float."""


class Search:
    """Decides which kernels run on integers.

    Args:
        model: Calibrated float model.
        keep: Nodes that stay in float in any case.
        narrow: Store weights in 8 bits also where a kernel stays in float because that is faster.
    """

    def __init__(self, model: Calibrated, keep: frozenset[str], *, narrow: bool = False) -> None:
        self.model = model
        self.keep = keep
        self.narrow = narrow
        found = model.region(keep)
        self.saved: Mapping[Chain, Saving] = savings.savings(model.program, found, model.dtype)
        self.whole = savings.fastest(model.program, model.dtype)
        self.slower = savings.in_float(model.program, self.saved, self.whole, keep | model.slow)

    def fastest(self) -> Mixed:
        """All on integers that are faster so, whatever that does to the results."""
        return self._mixed(self._quantized(self.slower), None, self.slower)

    def within(self, budget: Budget, judge: Judge, advance: Callable[[], None]) -> Mixed:
        """As much on integers as the budget allows, with the sensitivities of all kernels annotated.

        Args:
            budget: What may be lost.
            judge: Measures it, on data that the ranges were not found from.
            advance: Called after each kernel that was measured (one for each of ``saved``).
        """
        measured = sensitivity.measure(self.model, list(self.saved), self.keep, judge, advance)
        damage = dict(zip(self.saved, measured, strict=True))
        rest = [chain for chain in self.saved if chain not in self.slower]
        order = sorted(rest, key=lambda c: damage[c].noise / max(self.saved[c].seconds, 1e-9), reverse=True)

        def attempt(count: int) -> tuple[Program, Quality]:
            program = self._quantized((*self.slower, *order[:count]))
            return program, judge.quality(program)

        count, program, quality = _fewest(attempt, len(order), budget)
        dropped = order[:count]
        if budget.holds(quality):
            # What was dropped before the one that mattered may not have been needed.
            for chain in order[:count][::-1][1 : 1 + _TAKEN_BACK]:
                fewer = [other for other in dropped if other is not chain]
                tried = self._quantized((*self.slower, *fewer))
                found = judge.quality(tried)
                if budget.holds(found):
                    dropped, program, quality = fewer, tried, found
        floats = (*self.slower, *dropped)
        self._annotate(program, damage, set(dropped), self._integers(floats))
        return self._mixed(program, quality, floats)

    def _quantized(self, floats: Iterable[Chain]) -> Program:
        program = self.model.quantized(self.keep | _names(floats))
        if self.narrow:
            fast = _names(self.slower) | self.model.slow
            weights.to_integers(program, frozenset(n.name or "" for n in program.nodes) - (fast - self.keep))
        return program

    def _integers(self, floats: Iterable[Chain]) -> frozenset[str]:
        return frozenset(n.name or "" for n in self.model.region(self.keep | _names(floats)).nodes)

    def _mixed(self, program: Program, quality: Quality | None, floats: Iterable[Chain]) -> Mixed:
        count = len(self._integers(floats))
        return Mixed(program, quality, count, sum(map(len, self.saved)) - count)

    def _annotate(
        self, program: Program, damage: Mapping[Chain, Damage], dropped: set[Chain], integers: frozenset[str]
    ) -> None:
        nodes = {n.name: n for n in program.nodes}
        for chain, saving in self.saved.items():
            integer, own = chain[-1].name in integers, damage[chain]
            record = Sensitivity(
                tuple(n.name or "" for n in chain),
                round(own.node_sqnr_db, 2), round(own.output_sqnr_db, 2), own.agreement,
                saving.seconds, saving.known, integer, self._reason(chain, dropped, integer),
            )  # fmt: skip
            annotations.put(nodes[chain[-1].name], record)

    def _reason(self, chain: Chain, dropped: set[Chain], integer: bool) -> str:
        if integer:
            bears = WHOLE if self.whole == "integers" else CONVERTED
            return bears if self.saved[chain].seconds <= 0 else ""
        if chain in self.slower:
            return NOT_FASTER
        return BUDGET if chain in dropped else NEIGHBOURS


def _names(chains: Iterable[Chain]) -> frozenset[str]:
    return frozenset(n.name or "" for chain in chains for n in chain)


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
