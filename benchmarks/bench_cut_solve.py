"""How long the exact cut takes: one solve, the whole envelope over bandwidth, and networkx's minimum cut."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import networkx as nx
import numpy as np

from edgecut.passes.partition.envelope import over_bandwidth
from edgecut.passes.partition.objective import Rates, Situation, latency
from edgecut.passes.partition.problem import INPUT, Problem
from edgecut.passes.partition.solver import Solver
from edgecut.targets.spec import Network

SIZES = (100, 300, 1000, 3000, 10_000)
RUNS = 3
NETWORK = Network("bench", "a link of middling speed", up_mbps=20.0, down_mbps=50.0, rtt_ms=20.0)
T = TypeVar("T")


def graph(groups: int, seed: int) -> Problem:
    """A network with residual connections and branches, whose tensors shrink towards its end.

    Four of ten groups read a second tensor from up to some tens of groups back; the whole takes 0.1 s on
    the edge and a tenth of that in the cloud, whatever its size.
    """
    rng = np.random.default_rng(seed)
    shrink = np.geomspace(1.0, 0.003, groups)
    size = np.r_[150_528, np.ceil(2e6 * shrink * rng.lognormal(0.0, 0.8, groups))].astype(np.int64)
    reads = {(group, group) for group in range(groups)}
    for group in range(1, groups):
        if rng.random() < 0.4:
            reads.add((max(0, group - int(rng.geometric(0.1))), group))
    tensor, reader = np.array(sorted(reads)).T
    work = rng.lognormal(0.0, 1.0, groups)
    answer = np.zeros(groups, np.int64)
    answer[-1] = 4000
    used = groups  # the last tensor is the answer, which nothing reads
    return Problem(
        groups=tuple(f"g{i}" for i in range(groups)),
        edge_s=0.1 * work / work.sum(),
        cloud_s=0.01 * work / work.sum() * rng.lognormal(0.0, 0.3, groups),
        must_edge=np.zeros(groups, bool),
        must_cloud=np.zeros(groups, bool),
        weights=np.zeros(groups, np.int64),
        answer=answer,
        tensors=tuple(f"t{i}" for i in range(used)),
        size=size[:used],
        sealed=np.zeros(used, bool),
        producer=np.r_[INPUT, np.arange(used - 1)],
        read_tensor=tensor,
        read_group=reader,
    )


def flow_network(problem: Problem, rates: Rates) -> nx.DiGraph:
    """The same problem as a flow network; the source's side of its minimum cut is the edge."""
    net = nx.DiGraph()
    for group, (edge_s, cloud_s, answer) in enumerate(
        zip(problem.edge_s, problem.cloud_s, problem.answer, strict=True)
    ):
        net.add_edge(group, "cloud", capacity=rates.edge_s * edge_s)
        net.add_edge("edge", group, capacity=rates.cloud_s * cloud_s + rates.down_byte * answer)
        net.add_edge("round trip", group)
    net.add_edge("edge", "round trip", capacity=rates.offload)
    for tensor, (size, maker) in enumerate(zip(problem.size, problem.producer, strict=True)):
        source = "edge" if maker == INPUT else int(maker)
        net.add_edge(source, ("t", tensor), capacity=rates.up_byte * size)
    for tensor, group in zip(problem.read_tensor.tolist(), problem.read_group.tolist(), strict=True):
        net.add_edge(("t", tensor), group)
        if problem.producer[tensor] != INPUT:
            net.add_edge(group, int(problem.producer[tensor]))
    return net


def timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    family = latency(Situation(NETWORK))
    rates = family.at(Situation(NETWORK).delay)
    rows, envelopes = [], []
    Solver(graph(10, 0)).best(rates)  # SciPy is imported here, and not in a row
    for groups in SIZES:
        solve, envelope, flow, pieces = [], [], [], []
        for run in range(RUNS):
            problem = graph(groups, run)
            seconds, cloud = timed(lambda problem=problem: Solver(problem).best(rates))
            solve.append(seconds)
            seconds, bands = timed(
                lambda problem=problem: over_bandwidth(Solver(problem), family, NETWORK.up_mbps)
            )
            envelope.append(seconds)
            pieces.append(len(bands))
            net = flow_network(problem, rates)
            seconds, (value, _) = timed(lambda net=net: nx.minimum_cut(net, "edge", "cloud"))
            flow.append(seconds)
            price = rates.price(problem.totals(cloud))
            if not math.isclose(price, value, rel_tol=1e-9):
                raise SystemExit(f"{groups} groups: ours {price}, networkx {value}")
        envelopes.append(statistics.median(envelope))
        cells = [f"{statistics.median(x):.3f} ({min(x):.3f}-{max(x):.3f})" for x in (solve, envelope, flow)]
        rows.append(f"| {groups:,} | {' | '.join(cells)} | {min(pieces)}-{max(pieces)} |")
    slope = np.polyfit(np.log(SIZES), np.log(envelopes), 1)[0]
    print("## The exact cut: time to solve\n")
    print(
        f"Seconds, median (range) of {RUNS} random networks. The minimum cut is of the same instance at one"
    )
    print("bandwidth, its graph already built; its value is checked to agree with ours to 1e-9.\n")
    print("| groups | one bandwidth | all bandwidths | networkx `minimum_cut` | pieces |")
    print("|---|---|---|---|---|")
    print("\n".join(rows))
    print(f"\nThe envelope's time grows as the {slope:.2f}th power of the number of groups:\n")
    print("```")
    longest = max(envelopes)
    for groups, seconds in zip(SIZES, envelopes, strict=True):
        # Logarithmic: a full bar is the longest time, an empty one a thousandth of it.
        bar = "#" * max(1, round(60 * (1 + math.log10(seconds / longest) / 3)))
        print(f"{groups:>7,}  {seconds:8.3f} s  {bar}")
    print("```")


if __name__ == "__main__":
    main()
