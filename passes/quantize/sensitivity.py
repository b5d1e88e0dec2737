"""What each kernel alone does to a model, were it the only one on integers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgecut.ir import work
from edgecut.ir.program import Program
from edgecut.passes import numerics
from edgecut.passes.budget import Judge
from edgecut.passes.numerics import Difference, Runner, Sample
from edgecut.passes.quantize.integers import Calibrated
from edgecut.passes.quantize.savings import Chain

# Samples that kernels are judged on: fewer for large models, so that this takes minutes and not hours.
MOST, FEWEST = 64, 8
_MACS = 4e11


@dataclass(frozen=True)
class Damage:
    """The error of a model with one kernel on integers."""

    node_sqnr_db: float
    """Of what the kernel itself gives."""
    output_sqnr_db: float
    """Of the worst graph output."""
    agreement: float | None

    @property
    def noise(self) -> float:
        """Relative power at the output; that of independent kernels adds up."""
        return float(10 ** (-self.output_sqnr_db / 10))


def measure(
    model: Calibrated,
    chains: Sequence[Chain],
    keep: frozenset[str],
    judge: Judge,
    advance: Callable[[], None],
) -> list[Damage]:
    """The damage of each chain, with the float model as reference.

    Chains without weights run on integers only where others do before them; alone they do no damage.

    Args:
        model: Calibrated float model.
        chains: Kernels, each the nodes that it computes together.
        keep: Nodes that stay in float in any case.
        judge: Has the samples.
        advance: Called after each kernel.
    """
    samples = list(judge.samples(_samples(model.program, len(chains))))
    alike = Judge(model.program, samples, None)
    everything = frozenset(n.name or "" for chain in chains for n in chain)
    found = []
    for chain in chains:
        alone = model.quantized(keep | (everything - {n.name or "" for n in chain}))
        quality = alike.quality(alone)
        own = _own(model.program, alone, chain, samples)
        found.append(Damage(own, quality.sqnr_db, quality.agreement))
        advance()
    return found


def _own(program: Program, alone: Program, chain: Chain, samples: Iterable[Sample]) -> float:
    """SQNR of what the last node of a chain gives."""
    name = chain[-1].outputs[0].name or ""
    real = numerics.probe(program, name)
    rounded = f"{name}_dequantized" if f"{name}_dequantized" in alone.values() else name
    run, difference = Runner(alone, [rounded]), Difference()
    for sample in samples:
        difference.add({name: real(sample)}, {name: run(sample)[rounded]})
    return difference.sqnr_db


def _samples(program: Program, kernels: int) -> int:
    whole = sum(map(work.macs, program.nodes)) * max(kernels, 1)
    return int(min(MOST, max(FEWEST, _MACS / max(whole, 1))))
