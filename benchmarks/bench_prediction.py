"""Predicted against measured: published per-layer timings of other machines, every model held out in turn."""

from __future__ import annotations

import csv
import re
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from edgecut.ir.work import Work
from edgecut.profilers import fit
from edgecut.profilers.fit import Sample

HERE = Path(__file__).resolve().parent
LATENCY = HERE.parent.parent / "shared" / "zoo" / "latency"
LAYERS = HERE / "data" / "keras_layers.csv"
# What running a stretch of layers costs by itself, whatever is in it.
CALL = Work("other", "float32", 0, 0, 0)
TABLES = {
    "Raspberry Pi 4, TensorFlow 2.1 (layers and blocks)": "scission_raspi4_tf21_blocks.csv",
    "i7-6700K, TensorFlow 2.1 (layers and blocks)": "scission_cloud_i7-6700k_cpu_tf21_blocks.csv",
}
PIXEL = "Pixel 1, TFLite of 2018 (inverted residuals)"


def blocks(file: Path) -> list[Sample]:
    """Samples of a table of stretches of Keras layers."""
    layers: dict[str, dict[int, list[Work]]] = defaultdict(lambda: defaultdict(list))
    with LAYERS.open(encoding="utf-8") as text:
        for r in csv.DictReader(text):
            numbers = (int(r[k]) for k in ("macs", "bytes", "weight_bytes", "output_bytes"))
            layers[r["model"]][int(r["layer"])].append(Work(r["kind"], "float32", *numbers))  # type: ignore[arg-type]
    found = []
    with file.open(encoding="utf-8") as text:
        for r in csv.DictReader(text):
            if r["model"] not in layers:
                continue
            span = range(int(r["first_layer"]), int(r["last_layer"]) + 1)
            parts = (CALL, *(w for i in span for w in layers[r["model"]][i]))
            found.append(Sample(r["model"], parts, float(r["seconds"])))
    return found


def inverted_residuals(file: Path) -> list[Sample]:
    """Samples of ProxylessNAS's table; blocks that differ in the kernel only count as one held-out model."""
    found = []
    with file.open(encoding="utf-8") as text:
        for row in csv.DictReader(text):
            parts = inverted_residual(row["op"])
            if parts:
                held = re.sub(r"-kernel:\d", "", row["op"])
                found.append(Sample(held, (CALL, *parts), float(row["mean_ms"]) / 1e3))
    return found


def inverted_residual(key: str) -> tuple[Work, ...]:
    shapes = re.search(r"input:(\d+)x(\d+)x(\d+)-output:(\d+)x(\d+)x(\d+)", key)
    options = dict(re.findall(r"(expand|kernel|stride|idskip):(\d+)", key))
    if shapes is None or not key.startswith("expanded_conv"):
        return ()
    h, w, cin, oh, ow, cout = map(int, shapes.groups())
    expand, kernel = int(options["expand"]), int(options["kernel"])
    middle = cin * expand
    parts = [
        _conv("pointwise", h * w, cin, middle, 1, h * w * cin),
        _conv("depthwise", oh * ow, 1, middle, kernel * kernel, h * w * middle),
        _conv("pointwise", oh * ow, middle, cout, 1, oh * ow * middle),
    ]
    added = (
        [Work("elementwise", "float32", 0, 12 * oh * ow * cout, 0)] if options.get("idskip") == "1" else []
    )
    return (*(parts if expand > 1 else parts[1:]), *added)


def _conv(kind: str, pixels: int, cin: int, cout: int, taps: int, read: int) -> Work:
    weights = 4 * cin * cout * taps
    moved = 4 * (read + pixels * cout) + weights
    return Work(kind, "float32", pixels * cin * cout * taps, moved, weights)  # type: ignore[arg-type]


def main() -> None:
    if not LATENCY.is_dir():
        sys.exit("the latency tables are not on this machine")
    print("## Prediction of machines that are not at hand\n")
    print(
        "The roofline of `profilers/analytic`, its efficiencies fitted by non-negative least squares to\n"
        "published timings, each model held out in turn. Error is |predicted - measured| / measured; \n"
        "stretches of less than a hundredth of their model are not counted, whole models count everything.\n"
        "Siblings (ResNet-50, -101) tell much of each other: in each second line families are held out.\n"
    )
    print("| table | held out | stretches | median | 90th percentile | whole models, median |")
    print("|---|---|---|---|---|---|")
    sets = {name: blocks(LATENCY / file) for name, file in TABLES.items()}
    sets[PIXEL] = inverted_residuals(LATENCY / "proxylessnas_pixel1_ops.csv")
    for name, samples in sets.items():
        row(name, "models", samples)
        row("", "families", [replace(s, model=family(s.model)) for s in samples])


def row(name: str, what: str, samples: list[Sample]) -> None:
    e = fit.cross_validate(samples, "")
    assert e is not None
    held = f"{len({s.model for s in samples})} {what}"
    print(f"| {name} | {held} | {e.samples} | {e.median:.1%} | {e.p90:.1%} | {e.whole_median:.1%} |")


def family(model: str) -> str:
    """Networks of one design: by their name's first word, or the size of what a block reads."""
    if "input" in model:
        return model.split("-output")[0]
    return re.match(r"[a-z]+", model)[0]  # type: ignore[index]


if __name__ == "__main__":
    main()
