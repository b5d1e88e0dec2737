"""How many channels leave each group for a goal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgecut.ir.program import Program
from edgecut.passes.prune import rules
from edgecut.passes.prune.choose import by_cost
from edgecut.passes.prune.reconstruction import Order
from edgecut.passes.prune.resources import Counter, terms

Build = Callable[..., Program]
TEXT = """net (float[1,3,8,8] x) => (float[1,5] y)
{ a = Conv(x, wa)  ra = Relu(a)  b = Conv(ra, wb)  rb = Relu(b)  c = Conv(rb, wc)  rc = Relu(c)
  p = GlobalAveragePool(rc)  f = Flatten(p)  y = MatMul(f, wd) }"""


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_no_channel_leaves_without_need(build: Build, share: float, multiple: int, seed: int) -> None:
    """The goal is met, and is missed with any channels back: the cheap steps before a large one too."""
    shapes = {"wa": (8, 3, 3, 3), "wb": (24, 8, 1, 1), "wc": (16, 24, 3, 3), "wd": (16, 5)}
    program = build(TEXT, **{n: np.ones(s, np.float32) for n, s in shapes.items()})
    groups = rules.groups(program)
    rng = np.random.default_rng(seed)
    sizes = [len(group.channels) for group in groups]
    orders = [
        Order(tuple(range(n - 1)), tuple(np.cumsum(np.sort(rng.random(n - 1))).tolist())) for n in sizes
    ]
    counts = by_cost(program, groups, orders, "macs", share, multiple)

    def saved(counts: list[int]) -> float:
        counter = Counter(terms(program, "macs"), groups)
        for index, count in enumerate(counts):
            counter.remove(index, count)
        return 1 - counter.total() / counter.whole

    assert saved(counts) >= share
    assert all((size - count) % multiple == 0 for size, count in zip(sizes, counts, strict=True))
    for index, count in enumerate(counts):
        if count:
            fewer = [c - multiple * (i == index) for i, c in enumerate(counts)]
            assert saved(fewer) < share
