"""Adaptation on recorded networks: the runtime against the best cut of each request, and every fixed one.

The cuts' times are published ones (a Raspberry Pi 4 and a server, TensorFlow 2.1 float), their sizes those of
int8 tensors, and uint8 pixels where the input is sent. The link is virtual (`trace_world`); that it takes as
long as a real one is tested with kernel rate limiting (`tests/runtime/test_network.py`).
"""

from __future__ import annotations

import statistics
import sys
import timeit
from dataclasses import dataclass

import bench_cut_wins as published
import numpy as np
from trace_world import TRACES, TraceProber, World, load

from edgecut.ir.manifest import CutRecord, Manifest, NetworkRecord, SourceRecord, TargetRecord
from edgecut.runtime.estimate import Estimates
from edgecut.runtime.policy import Feedback, Policy, Table
from edgecut.runtime.session import Session

MODELS = ("mobilenetv2", "resnet101v2")
# The policy's constants were chosen on these; what counts are the others.
TUNED_ON = ("5g_driving_1", "fcc_13562", "hsdpa_norway_bus_1", "hsdpa_norway_tram_10", "oboe_trace_107")
JUDGED_ON = ("5g_driving_2", "5g_static_1", "fcc_14679", "hsdpa_norway_train_1", "oboe_trace_279")
RTT_S = 0.05
PLAN_MBPS = 6.3  # targets/networks/4g.toml
ANSWER = 4000
REQUESTS = 4000


HEAD = f"""## Adaptation on recorded networks

Requests one after the other on ten recorded networks, in virtual time, through the runtime's own session: it
sees the stamps of its own requests and probes, and nothing else. *Clairvoyant* is the best cut of each
request, known beforehand; a fixed cut is judged on the same requests. Edge and cloud times are published ones
(Raspberry Pi 4, i7-6700K), the round trip is {RTT_S * 1e3:.0f} ms, each part varies by 5 %. The policy's
constants were chosen on traces under *tuned on*. Brackets behind a cut: edge time, bytes sent, server time.
"""


@dataclass(frozen=True)
class Outcome:
    """Mean seconds of one policy on one trace, of the best cut of each request, and of each fixed cut."""

    requests: int
    adaptive: float
    clairvoyant: float
    fixed: dict[str, float]

    @property
    def best_fixed(self) -> str:
        return min(self.fixed, key=self.fixed.__getitem__)


def manifest(model: str) -> Manifest:
    """The cuts of a published model that are the best at some bandwidth, and edge-only and cloud-only."""
    edge, cloud = published.blocks(published.EDGE)[model], published.blocks(published.CLOUD)[model]
    count = len(edge)
    edge_s = np.cumsum([0.0, *(seconds for seconds, _ in edge)])
    cloud_s = np.cumsum([0.0, *(seconds for seconds, _ in cloud)][::-1])[::-1]
    pixels = published.SIDES.get(model, 224) ** 2 * 3
    size = np.array([pixels, *(bytes_ / 4 for _, bytes_ in edge)])
    size[-1] = 0
    bands: dict[int, list[float]] = {0: [0.0, 0.0], count: [0.0, 0.0]}
    for mbps in np.geomspace(0.05, 500, 2000).tolist():
        best = int(np.argmin(latencies(edge_s, cloud_s, size, mbps)))
        band = bands.setdefault(best, [0.0, 0.0])
        band[:] = [band[0] or mbps, mbps]
    order = latencies(edge_s, cloud_s, size, PLAN_MBPS)
    cuts = []
    for k in sorted(bands, key=lambda k: order[k]):
        name = {0: "cloud-only", count: "edge-only"}.get(k, f"block {k}")
        whole = k == count
        cuts.append(
            CutRecord(
                name, None if k == 0 else f"cut{k}", None if whole else f"m{k}", (), (),
                float(edge_s[k]), 0.0 if whole else float(cloud_s[k]), int(size[k]), 0 if whole else ANSWER,
                float(order[k]), bands[k][0], bands[k][1] if bands[k][1] < 499 else None,
            )
        )  # fmt: skip
    return Manifest(
        1, "0", model, SourceRecord(model, "0" * 64, "onnx"), (), (), None, TargetRecord("Pi 4", "published"),
        TargetRecord("i7-6700K", "published"), NetworkRecord("4g", PLAN_MBPS, PLAN_MBPS, RTT_S), "latency",
        tuple(cuts), (), (), (),
    )  # fmt: skip


def latencies(edge_s: np.ndarray, cloud_s: np.ndarray, size: np.ndarray, mbps: float) -> np.ndarray:
    found = edge_s + cloud_s + (size + ANSWER) * 8e-6 / mbps + RTT_S
    found[-1] = edge_s[-1]
    return found


def run(plan: Manifest, trace: str, policy: Policy, period_s: float = 0.0) -> Outcome:
    """Requests one after the other (or one each period) until the trace ends."""
    link = load(TRACES / f"{trace}.csv")
    world = World(plan, link, rtt_s=RTT_S, seed=1)
    session = Session(world, policy=policy, clock=world.clock, prober=TraceProber(world))  # type: ignore[arg-type]
    taken, others = [], []
    while world.now < link.duration_s and len(taken) < REQUESTS:
        world.next_request()
        start = world.now
        others.append([world.phases(cut, start).total_s for cut in plan.cuts])
        session.infer({})
        taken.append(world.now - start)
        if period_s:
            world.now = max(world.now, (start // period_s + 1) * period_s)
    times = np.array(others)
    fixed = {cut.name: float(times[:, k].mean()) for k, cut in enumerate(plan.cuts)}
    return Outcome(len(taken), statistics.mean(taken), float(times.min(axis=1).mean()), fixed)


def table(plan: Manifest) -> str:
    """One model on every trace."""
    lines = [
        f"**{plan.model}**, cuts: " + ", ".join(shown(cut) for cut in plan.cuts) + ".",
        "",
        "| trace | requests | clairvoyant, ms | `feedback`, ms | to clairvoyant | `table` to it "
        "| best fixed cut (its mean to ours) |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for title, traces in (("judged on", JUDGED_ON), ("tuned on", TUNED_ON)):
        found = {trace: run(plan, trace, Feedback()) for trace in traces}
        tables = {trace: run(plan, trace, Table()) for trace in traces}
        for trace, o in found.items():
            ratio = tables[trace].adaptive / tables[trace].clairvoyant
            fixed = f"{o.best_fixed} ({o.fixed[o.best_fixed] / o.adaptive:.2f})"
            lines.append(
                f"| {trace} | {o.requests} | {o.clairvoyant * 1e3:.0f} | {o.adaptive * 1e3:.0f} | "
                f"{o.adaptive / o.clairvoyant:.3f} | {ratio:.3f} | {fixed} |"
            )
        ours, best = (
            statistics.mean(getattr(o, k) for o in found.values()) for k in ("adaptive", "clairvoyant")
        )
        means = {c.name: statistics.mean(o.fixed[c.name] for o in found.values()) for c in plan.cuts}
        others = ", ".join(f"{name} {mean / ours:.2f}" for name, mean in means.items())
        whole = f"{best * 1e3:.0f} | {ours * 1e3:.0f} | **{ours / best:.3f}**"
        lines.append(f"| **{title}: all** | | {whole} | | {others} |")
    return "\n".join(lines)


def shown(cut: CutRecord) -> str:
    return f"{cut.name} ({cut.edge_s * 1e3:.0f} ms, {cut.up_bytes / 1e3:.0f} kB, {cut.cloud_s * 1e3:.0f} ms)"


def sparse(plan: Manifest) -> str:
    found = [run(plan, trace, Feedback(), period_s=1.0) for trace in JUDGED_ON]
    mean = statistics.mean(o.adaptive for o in found) / statistics.mean(o.clairvoyant for o in found)
    worst = max(o.adaptive / o.clairvoyant for o in found)
    return f"{plan.model} {mean:.3f} (worst trace {worst:.3f})"


def choice_us(plan: Manifest) -> float:
    """Microseconds of one choice among the plan's cuts."""
    estimates, policy = Estimates(plan), Feedback()
    world = World(plan, load(TRACES / f"{JUDGED_ON[0]}.csv"), rtt_s=RTT_S)
    for cut in plan.cuts * 9:
        estimates.observe(cut, world.phases(cut, 0.0), cut.up_bytes, cut.down_bytes)
    return min(timeit.repeat(lambda: policy.choose(plan.cuts, estimates), number=2000, repeat=7)) / 2000 * 1e6


def main() -> None:
    if not TRACES.is_dir():
        sys.exit("the model zoo is not on this machine")
    plans = [manifest(model) for model in MODELS]
    print(HEAD)
    for plan in plans:
        print(table(plan) + "\n")
    print(
        "With one request a second instead, judged traces, to clairvoyant: "
        + "; ".join(map(sparse, plans))
        + "."
    )
    print("On the 5G traces, which change each second, what the last request saw is then old.\n")
    print(f"One choice among {len(plans[0].cuts)} cuts takes {choice_us(plans[0]):.0f} us.")


if __name__ == "__main__":
    main()
