"""On how many samples many variants of a program are compared, so that it takes minutes and not hours."""

from edgecut.frontends.data import Dataset
from edgecut.ir import work
from edgecut.ir.program import Program
from edgecut.passes import split

# Multiply-accumulates of all variants on all samples.
_MACS = 3e11
# Fewer samples tell chance from gain nowhere.
_LEAST = 32


def bounded(dataset: Dataset, program: Program, variants: int) -> Dataset:
    """The first samples, as many as that many variants of a program can be run on."""
    whole = sum(map(work.macs, program.nodes)) * max(variants, 1)
    return split.first(dataset, max(_LEAST, int(_MACS / max(whole, 1))))
