"""Profiling: operators against the whole, two profiles of one model, and how long a profile takes."""

from __future__ import annotations

import statistics
import sys
import time

import profiled

from edgecut.ir import annotations
from edgecut.ir.annotations import Conditions, Profile, Time
from edgecut.ir.program import Program
from edgecut.passes import recipes
from edgecut.passes.base import Context
from edgecut.passes.profile import report

GENERATED = ("resnet18", "mobilenetv3s")
AGAIN = 3


def main() -> None:
    if not profiled.ZOO.is_dir():
        sys.exit("the model zoo is not on this machine")
    print("## Profiling\n")
    print(
        f"Each model profiled {AGAIN} times on this machine, one thread. *sum* is the operators as timed\n"
        "by the runtime against the whole inference without its profiler (where they are over 10 % apart,\n"
        "the costs of groups come from prefixes of the graph); *repeat* is the largest difference between\n"
        "the whole times of two of the profiles; *takes* is the profile pass, both sides.\n"
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
    times = [t.seconds for t, _ in known]
    middle = statistics.median(times)
    sums = statistics.median((c.operators_s or 0) / t.seconds - 1 for t, c in known)
    spread = max(t.spread for t, _ in known)
    repeat = max(times) / min(times) - 1
    return [f"{middle * 1e3:.3f} ms", f"{spread:.1%}", f"{sums:+.1%}", f"{repeat:.1%}"]


if __name__ == "__main__":
    main()
