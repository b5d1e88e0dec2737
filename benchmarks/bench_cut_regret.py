"""How far the planned cut is from the best of all cuts, every one of them built and timed."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgecut.ir.program import Program
from edgecut.passes import pipeline, recipes
from edgecut.passes.base import Context
from edgecut.passes.partition import planning
from edgecut.passes.partition.enumerate import placements
from edgecut.passes.partition.measuring import Measured
from edgecut.passes.partition.partition import Partition
from edgecut.passes.partition.planning import Known, Posed, Request
from edgecut.passes.partition.problem import Mask

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT.parent / "shared" / "zoo" / "models"
MODELS = {
    "digits": ROOT / "fixtures" / "digits.onnx",
    "ResNet-8": ZOO / "resnet8_cifar10.onnx",
    "DS-CNN": ZOO / "kws_dscnn.onnx",
    "ECG CNN": ZOO / "ecg_cnn_mitbih.onnx",
    "MobileNetV2": ZOO / "mobilenetv2_imagenet.onnx",
}
BANDWIDTHS = np.geomspace(0.1, 10_000, 20)
# The server is a core of this machine too. This makes it worth reaching, and a network worth splitting.
SPEED = 8.0
RTT_MS = 0.0
BATCH = 8
RUNS = 0  # as many as fit into the time that each half gets
WANTED = Partition(network="ethernet", rtt_ms=RTT_MS, edge="local", cloud="local", load=1 / SPEED)


@dataclass
class Recorded(Measured):
    """Looks times up instead of measuring again."""

    truth: Known | None = None

    def add(self, clouds: Iterable[Mask], context: Context) -> None:
        assert self.truth is not None
        self.known.update({cloud.tobytes(): self.truth[cloud.tobytes()] for cloud in clouds})


@dataclass(frozen=True)
class Outcome:
    """What the plan for one bandwidth loses, and whether a split is the best there."""

    by_sums: float
    by_measurement: float
    is_split: bool


def outcomes(model: Path) -> tuple[int, list[Outcome]]:
    """Number of cuts, and what plans lose at each bandwidth.

    Every cut is timed twice: plans are made with the first timing, and judged by the second.
    """
    chain = [*recipes.Source(model).front(), recipes.make("profile", edge="local", cloud="local")]
    program = pipeline.run(chain, Program.empty(), Context(), use_cache=False)
    request = WANTED.request(program)
    posed = planning.pose(program, request)
    clouds, _ = placements(posed.problem)
    first, second = (Measured(posed, request, RUNS, 1) for _ in range(2))
    for start in range(0, len(clouds), BATCH):
        for timing in (first, second):
            timing.add(clouds[start : start + BATCH], Context())
    at = (replace(WANTED, up_mbps=float(mbps)).request(program) for mbps in BANDWIDTHS)
    return len(clouds), [outcome(posed, request, first.known, second.known) for request in at]


def outcome(posed: Posed, request: Request, first: Known, second: Known) -> Outcome:
    prices = {key: request.price(totals) for key, (_, totals) in second.items()}
    best = min(prices, key=prices.__getitem__)
    guided = Recorded(posed, request, RUNS, 1, truth=first)
    plans = planning.offered(posed, request), planning.offered(posed, request, guided.at(request, Context()))
    losses = [prices[bands[0].cloud.tobytes()] / prices[best] - 1 for bands in plans]
    return Outcome(*losses, is_split=0 < second[best][0].sum() < len(posed.problem.groups))


def main() -> None:
    os.environ["EDGECUT_CACHE"] = tempfile.mkdtemp(prefix="edgecut-bench-")
    print(f"""## Regret of the planned cut

Latency of the planned cut over that of the best of all cuts, minus 1, at {len(BANDWIDTHS)} bandwidths from
0.1 to 10,000 Mbit/s. Every cut is built and both halves are timed: LiteRT as the edge, ONNX Runtime as
the server, counted {SPEED:g} times faster than this machine, no round trip (else no split of such small
networks would ever be the best). *Measured* is what `build` does on this machine: it times the few cuts
that come into question, and plans with that. *Sums* are those of operator times (`--no-measure`). Both are
judged by a second timing of all cuts, which they have not seen, and by which the best one is the best.

| model | cuts | a split is the best at | sums: median / worst | measured: median / worst |
|---|---|---|---|---|""")
    for name, model in MODELS.items():
        if not model.is_file():
            continue
        count, found = outcomes(model)
        cells = [
            f"{statistics.median(losses):.1%} / {max(losses):.1%}"
            for losses in ([o.by_sums for o in found], [o.by_measurement for o in found])
        ]
        splits = sum(o.is_split for o in found)
        print(f"| {name} | {count} | {splits} of {len(found)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
