"""Profiling: operators against the whole, two profiles of one model, and how long a profile takes."""

from __future__ import annotations

import itertools
import statistics
import sys
import time

import profiled

from edgecut.ir import annotations
from edgecut.ir.annotations import Conditions, Profile, Time
from edgecut.ir.program import Program
from edgecut.passes import recipes
from edgecut.passes.base import Context
from edgecut.passes.profile import compare, report

GENERATED = ("resnet18", "mobilenetv3s")
AGAIN = 3


def main() -> None:
    if not profiled.ZOO.is_dir():
        sys.exit("the model zoo is not on this machine")
    print("## Profiling\n")
    print(
        f"Each model profiled {AGAIN} times on this machine, one thread. *spread* is what the profiles\n"
        "state (the largest); *repeat* is the largest difference between the whole times of two of them,\n"
        "and how many of the pairs agree within what both state (2 % at least, as in `--compare`). *sum* is\n"
        "the operators as timed by the runtime against the whole inference without its profiler; where they\n"
        "are over 10 % apart (and 5 us, a call's own cost), the costs of groups come from prefixes of the\n"
        "graph (marked \\*). *takes* is the profile pass, both sides.\n"
    )
    print("| model | LiteRT | spread | sum | repeat | ONNX Runtime | spread | sum | repeat | takes |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, program in profiled.programs(GENERATED):
        print(f"| {name} | {' | '.join(cells(program))} |", flush=True)


def cells(program: Program) -> list[str]:
    profiles, seconds = [], []
    for _ in range(AGAIN):
        start = time.perf_counter()
        done = recipes.make("profile", again=True).run(program.copy(), Context())
        seconds.append(time.perf_counter() - start)
        report.of(done)
        profiles.append(annotations.require(done.model, Profile, ""))
    edge = side([(p.edge_total, p.edge_conditions) for p in profiles])
    cloud = side([(p.cloud_total, p.cloud_conditions) for p in profiles])
    return [*edge, *cloud, f"{statistics.median(seconds):.2f} s"]


def side(found: list[tuple[Time | None, Conditions | None]]) -> list[str]:
    known = [(t, c) for t, c in found if t is not None and c is not None]
    if not known:
        return ["-"] * 4
    times = [t for t, _ in known]
    seconds = [t.seconds for t in times]
    sums = statistics.median((c.operators_s or 0) / t.seconds - 1 for t, c in known)
    prefixes = r" \*" if any(c.correction == "intervals" for _, c in known) else ""
    pairs = list(itertools.combinations(times, 2))
    agree = sum(within(a, b) for a, b in pairs)
    return [
        f"{statistics.median(seconds) * 1e3:.3f} ms",
        f"{max(t.spread for t in times):.1%}",
        f"{sums:+.1%}{prefixes}",
        f"{max(seconds) / min(seconds) - 1:.1%}, {agree} of {len(pairs)}",
    ]


def within(a: Time, b: Time) -> bool:
    """Whether two times are no further apart than both their spreads."""
    stated = (t.seconds * max(t.spread, compare.LEAST_PART) for t in (a, b))
    return abs(a.seconds - b.seconds) <= sum(stated)


if __name__ == "__main__":
    main()
