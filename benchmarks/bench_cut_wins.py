"""What splitting wins on published timings of a Raspberry Pi 4 and a server, against every baseline."""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgecut.passes.partition.objective import Rates, Situation, latency
from edgecut.passes.partition.problem import INPUT, Problem
from edgecut.passes.partition.solver import Solver
from edgecut.targets.spec import load_network

LATENCY = Path(__file__).resolve().parent.parent.parent / "shared" / "zoo" / "latency"
EDGE, CLOUD = (
    LATENCY / "scission_raspi4_tf21_blocks.csv",
    LATENCY / "scission_cloud_i7-6700k_cpu_tf21_blocks.csv",
)
LINKS = ("3g", "4g", "wifi")
# Bytes per value of a tensor that crosses. The last is a learned bottleneck: 1/64 of float32.
BOUNDARIES = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "int4": 0.5, "64x bottleneck": 4 / 64}
# Of a 224x224 image at quality 95, as measured on the zoo's ImageNet sample; others by their area.
JPEG_224 = 24_066
SIDES = {"xception": 299, "inception_v3": 299, "inceptionresnet_v2": 299, "nasnetlarge": 331}
# The published sizes are those of serialized arrays.
HEADER = 128
ANSWER = 4000
MARGIN = 0.10
UPLOADS = ("float32", "uint8", "JPEG")

Block = tuple[float, int]
"""Seconds, and bytes of its output."""
Blocks = dict[str, list[Block]]


def blocks(file: Path) -> Blocks:
    """Seconds and output bytes of each block, by model."""
    found: Blocks = {}
    with file.open(encoding="utf-8") as text:
        for row in csv.DictReader(text):
            figures = (float(row["seconds"]), int(row["output_bytes_serialized"]) - HEADER)
            found.setdefault(row["model"], []).append(figures)
    return found


def chain(edge: list[Block], cloud: list[Block], pixels: int, width: float) -> Problem:
    """The blocks of one model in a row; what crosses between them has ``width`` bytes per value."""
    count = len(edge)
    inner = [size / 4 * width for _, size in edge[:-1]]
    return Problem(
        groups=tuple(str(i) for i in range(count)),
        edge_s=np.array([seconds for seconds, _ in edge]),
        cloud_s=np.array([seconds for seconds, _ in cloud]),
        must_edge=np.zeros(count, bool),
        must_cloud=np.zeros(count, bool),
        weights=np.zeros(count, np.int64),
        answer=np.r_[np.zeros(count - 1, np.int64), ANSWER],
        tensors=("pixels", *(str(i) for i in range(count - 1))),
        size=np.ceil([4 * pixels, *inner]).astype(np.int64),
        sealed=np.zeros(count, bool),
        producer=np.r_[INPUT, np.arange(count - 1)],
        read_tensor=np.arange(count),
        read_group=np.arange(count),
    )


def baselines(problem: Problem, rates: Rates, side: int) -> dict[str, float]:
    """Latencies without splitting."""
    cloud = problem.totals(np.ones(len(problem.groups), bool))
    work = rates.price(replace(cloud, up_bytes=0))
    values = 3 * side * side
    uploads = {"float32": 4 * values, "uint8": values, "JPEG": JPEG_224 * side * side / 224**2}
    found = {"edge-only": float(problem.edge_s.sum())}
    return {**found, **{f"cloud-only {name}": work + rates.up_byte * size for name, size in uploads.items()}}


def best_split(problem: Problem, rates: Rates) -> float:
    """Latency of the best cut that leaves work to both sides."""
    first, last = np.zeros(len(problem.groups), bool), np.zeros(len(problem.groups), bool)
    first[0], last[-1] = True, True
    both = replace(problem, must_edge=first, must_cloud=last)
    return rates.price(both.totals(Solver(both).best(rates)))


def wins(link: str, width: float, edge: Blocks, cloud: Blocks) -> dict[str, dict[str, float]]:
    """By model and upload: the part of the better baseline's latency that the best split saves."""
    at = Situation(load_network(link))
    rates = latency(at).at(at.delay)
    found: dict[str, dict[str, float]] = {}
    for model in edge:
        side = SIDES.get(model, 224)
        problem = chain(edge[model], cloud[model], 3 * side * side, width)
        split, others = best_split(problem, rates), baselines(problem, rates, side)
        found[model] = {
            upload: 1 - split / min(others["edge-only"], others[f"cloud-only {upload}"]) for upload in UPLOADS
        }
    return found


def summary(edge: Blocks, cloud: Blocks) -> Iterator[str]:
    yield "| link | boundary | against float32 upload | uint8 | JPEG |"
    yield "|---|---|---|---|---|"
    for link in LINKS:
        for boundary, width in BOUNDARIES.items():
            saved = wins(link, width, edge, cloud).values()
            cells = []
            for upload in UPLOADS:
                column = [one[upload] for one in saved]
                cells.append(f"{sum(w >= MARGIN for w in column)} ({statistics.median(column):+.0%})")
            yield f"| {link}, {load_network(link).up_mbps:g} Mbit/s | {boundary} | {' | '.join(cells)} |"


def details(edge: Blocks, cloud: Blocks) -> Iterator[str]:
    yield f"| network | {' | '.join(LINKS)} |"
    yield "|---" * (len(LINKS) + 1) + "|"
    found = {link: wins(link, BOUNDARIES["int8"], edge, cloud) for link in LINKS}
    for model in edge:
        cells = [" / ".join(f"{found[link][model][upload]:+.0%}" for upload in UPLOADS) for link in LINKS]
        yield f"| {model} | {' | '.join(cells)} |"


def main() -> None:
    if not EDGE.is_file():
        sys.exit("the published timings are not on this machine")
    edge, cloud = blocks(EDGE), blocks(CLOUD)
    print(f"""## What splitting wins on a Raspberry Pi 4

Published block timings of {len(edge)} networks (TensorFlow 2.1; Raspberry Pi 4 and an i7-6700K). How many of
them the best cut speeds up by {MARGIN:.0%} or more over the better of edge-only and cloud-only, with each
encoding of the upload; in brackets the median over the networks of the latency saved against that
baseline (negative: splitting is slower).
""")
    print("\n".join(summary(edge, cloud)))
    print("""
The bottleneck stands for what would have to be trained; the other boundaries need no training. The time
of coding the upload or the boundary is not counted on either side.

Each network with an int8 boundary, against the upload as float32 / uint8 / JPEG:
""")
    print("\n".join(details(edge, cloud)))


if __name__ == "__main__":
    main()
