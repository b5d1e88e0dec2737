"""What crosses: bytes at equal agreement, for every cut worth looking at, beside integers and images.

Usage: python benchmarks/bench_boundary.py [MODEL ...] [--picture FILE]      (all four by default)

Coders are fitted to other samples than those they are judged on: to data of their own where the zoo has
such, else crosswise (four times three quarters, each judged on the last quarter).
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from edgecut.frontends import data
from edgecut.ir import encoding, extract
from edgecut.ir.encoding import Spec
from edgecut.ir.program import Program
from edgecut.passes import recipes
from edgecut.passes.base import Context
from edgecut.passes.boundary import activations, candidate, sensitivity, statistics
from edgecut.passes.numerics import Runner

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT.parent / "shared" / "zoo"
TARGETS = (0.99, 0.98, 0.96, 0.90)
STEPS = (0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 1.0, 1.2, 1.5, 2.0, 2.8)
QUALITIES = (100, 97, 95, 94, 93, 92, 91, 90, 88, 86, 84, 80, 75, 65, 50)
FOLDS = 4
SHOWN = {"JPEG": "JPEG", "WEBP": "WebP"}


@dataclass(frozen=True)
class Network:
    """A model of the zoo and its data; ``image`` where its input is one."""

    file: str
    test: str
    calibration: str | None = None
    image: recipes.Image | None = None
    limit: int = 100


NETWORKS = {
    "MobileNetV2": Network(
        "mobilenetv2_imagenet.onnx", "imagenet/images", None, recipes.Image("input", (127.5,), (127.5,)), 100
    ),
    "ResNet-8": Network(
        "resnet8_cifar10.onnx",
        "cifar10/cifar10_test_lossless_250.npz",
        "cifar10/cifar10_train_calib_200.npz",
        recipes.Image("input"),
    ),
    "keyword": Network("kws_dscnn.onnx", "speech_commands/kws_mfcc_test_500.npz"),
    "ECG": Network("ecg_cnn_mitbih.onnx", "ecg_mitbih/beats_test.npz", "ecg_mitbih/beats_train_calib.npz"),
}


@dataclass
class Curve:
    """Bytes and agreement of one way of sending, at several settings."""

    name: str
    points: list[tuple[float, float]] = field(default_factory=list)

    def at(self, agreement: float) -> float | None:
        """The fewest bytes with at least this agreement."""
        return min((size for size, same in self.points if same >= agreement - 1e-9), default=None)


@dataclass
class Row:
    """One cut."""

    name: str
    shape: tuple[int, ...]
    float32: int
    int8: int
    int8_zlib: float
    curve: Curve
    encode_ms: float
    decode_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(NETWORKS))
    parser.add_argument("--cuts", nargs="*", help="these tensors only")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "boundary.svg")
    options = parser.parse_args()
    print("## Boundary\n")
    print(INTRODUCTION)
    for name in options.models:
        start = time.perf_counter()
        rows, images = measure(NETWORKS[name], options.cuts)
        print(table(name, NETWORKS[name], rows, images))
        if name == "MobileNetV2":
            options.picture.write_text(picture(rows, images), encoding="utf-8")
            print("![Rate against agreement](../docs/boundary.svg)\n")
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


INTRODUCTION = """Bytes per inference (mean) with which at least 99, 98, 96 and 90 % of the answers
(top-1) are those of the float model, at every cut whose tensor is small enough to be worth a look
(smaller than the input or 64 K elements, and no larger than twice an earlier one). Steps from 0.2 to 2.8
standard deviations of the tensor were tried, with the transform that takes the fewest bytes; samples
that coders were fitted to are not among those counted. *int8* is one scale for the tensor, *+zlib* what
zlib makes of it. Encode and decode: at the 96 % step, transform included, the fastest of several, NumPy.
"""


def measure(network: Network, only: list[str] | None) -> tuple[list[Row], list[Curve]]:
    model = ZOO / "models" / network.file
    passes = recipes.Source(model, image=network.image).front()
    passes.append(recipes.make("profile", edge="raspberrypi4", cloud="x86-vm"))
    program = None
    for item in passes:
        program = item.run(program, Context())  # type: ignore[arg-type]
    assert program is not None
    tested = list(data.load(ZOO / "data" / network.test, program.inputs))
    tested = tested[:: max(1, len(tested) // network.limit)][: network.limit]
    other = []
    if network.calibration:
        other = list(data.load(ZOO / "data" / network.calibration, program.inputs))[:200]
    whole = Runner(program)
    wanted = [whole(sample) for sample in tested]
    answers = np.array([candidate.top(found) for found in wanted])
    rows = []
    places = [p for p in activations.worthwhile(program) if not only or set(p.made) & set(only)]
    for seen in activations.walk(program, places, [*tested, *other]):
        _, cloud = extract.split(program, seen.place.cut)
        assert cloud is not None
        if len(seen.feeds[0]) > 1:
            continue  # a cut at which several tensors cross: each is larger than those of the cuts beside it
        (name,) = seen.place.made
        axis = statistics.channel_axis(program, name)
        rows.append(row(seen, name, cloud, axis, answers))
        print(f"  {name} {rows[-1].shape}", file=sys.stderr, flush=True)
    images = []
    if network.image:
        images = [uploads(kind, whole, tested, answers) for kind in ("JPEG", "WEBP")]
    return rows, images


def folds(samples: int, tested: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of samples to fit to, and of those to report on: the tested ones come first."""
    if samples > tested:
        yield np.arange(tested, samples), np.arange(tested)
        return
    fold = np.arange(tested) % FOLDS
    for k in range(FOLDS):
        yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)


def row(seen: activations.Seen, name: str, cloud: Program, axis: int, answers: np.ndarray) -> Row:
    suffix, parts = Runner(cloud), []
    for fit, index in folds(len(seen.feeds), len(answers)):
        feeds = [seen.feeds[i] for i in (*fit, *index)]
        part = activations.Seen(seen.place, feeds, seen.grids).divided(name, len(fit))
        coding = statistics.of_value(part.real(part.fit), axis)
        parts.append((part, sensitivity.weigh(coding, part, cloud, feeds[: len(fit)]), index))
    first, coding, _ = parts[0]
    kinds = [k for k in encoding.TRANSFORMS if candidate.usable(at(k, 0.5), first, coding)]
    sizes = {k: np.mean(candidate.attempt(first, coding, at(k, 0.5)).sizes) for k in kinds}
    kind = min(kinds, key=lambda k: sizes[k])
    curve, times = Curve(kind), {}
    for step in STEPS:
        tried = [(candidate.attempt(part, stat, at(kind, step)), index) for part, stat, index in parts]
        size = float(np.average([np.mean(t.sizes) for t, _ in tried], weights=[len(i) for _, i in tried]))
        same = 0
        for result, index in tried:
            for i, k in enumerate(index):
                same += candidate.top(suffix({name: result.values[i : i + 1]})) == answers[k]
        curve.points.append((size, same / len(answers)))
        times[size] = min(t.encode_s for t, _ in tried), min(t.decode_s for t, _ in tried)
        if same < 0.85 * len(answers):
            break
    plain = candidate.attempt(first, coding, Spec("int8"))
    packed = candidate.attempt(first, coding, Spec("int8", coder="zlib"))
    best = curve.at(0.96) or curve.points[0][0]
    shape = first.shape[1:]
    elements = int(np.prod(shape))
    encode, decode = times[best]
    return Row(
        name,
        shape,
        4 * elements,
        plain.sizes[0],
        float(np.mean(packed.sizes)),
        curve,
        1e3 * encode,
        1e3 * decode,
    )


def at(kind: str, step: float) -> Spec:
    return Spec(kind, step, coder="rans")


def uploads(kind: str, whole: Runner, tested: list[dict[str, np.ndarray]], answers: np.ndarray) -> Curve:
    """What sending the image in place of a tensor takes."""
    curve = Curve(kind)
    for quality in QUALITIES:
        same, sizes = 0, []
        for sample, answer in zip(tested, answers, strict=True):
            ((name, x),) = sample.items()
            buffer = io.BytesIO()
            Image.fromarray(x[0]).save(buffer, kind, quality=quality)
            sizes.append(buffer.tell())
            back = np.asarray(Image.open(buffer).convert("RGB"))
            same += candidate.top(whole({name: back[None]})) == answer
        curve.points.append((float(np.mean(sizes)), same / len(answers)))
    return curve


def table(name: str, network: Network, rows: list[Row], images: list[Curve]) -> str:
    head = ["cut", "shape", "float32", "int8", "+zlib", "transform", *(f"{t:.0%}" for t in TARGETS)]
    head += ["encode ms", "decode ms"]
    lines = [f"### {name}\n", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for curve in images:
        lines.append(f"| {SHOWN[curve.name]} of the image | | | | | | {_bytes(curve)} | | |")
    for r in rows:
        shape = "x".join(map(str, r.shape))
        start = f"| {r.name} | {shape} | {r.float32:,} | {r.int8:,} | {r.int8_zlib:,.0f} | {r.curve.name} "
        lines.append(f"{start}| {_bytes(r.curve)} | {r.encode_ms:.2f} | {r.decode_ms:.2f} |")
    return "\n".join([*lines, ""])


def _bytes(curve: Curve) -> str:
    found = [curve.at(target) for target in TARGETS]
    return " | ".join("-" if size is None else f"{size:,.0f}" for size in found)


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 480, 70, 230, 30, 55
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f", "#bcbd22")


def picture(rows: list[Row], images: list[Curve]) -> str:
    """Rate against agreement: one curve for each cut, the images' dashed."""
    chosen: dict[tuple[int, ...], Row] = {}
    for r in rows:  # of several cuts of one shape the last, which is nearest to the answer
        chosen[r.shape] = r
    curves = [(f"{r.name} {'x'.join(map(str, r.shape))}", r.curve, "") for r in chosen.values()]
    curves += [(f"{SHOWN[curve.name]} of the image", curve, "6 4") for curve in images]
    low, high = 100.0, 100_000.0

    def x(size: float) -> float:
        part = np.log(min(max(size, low), high) / low) / np.log(high / low)
        return float(LEFT + part * (WIDTH - LEFT - RIGHT))

    def y(same: float) -> float:
        return HEIGHT - BOTTOM - (max(same, 0.8) - 0.8) / 0.2 * (HEIGHT - TOP - BOTTOM)

    body = []
    for size in (100, 300, 1000, 3000, 10_000, 30_000, 100_000):
        body.append(f'<path d="M{x(size):.1f} {TOP} V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        shown = f"{size // 1000} KB" if size >= 1000 else f"{size} B"
        body.append(f'<text x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{shown}</text>')
    for percent in (80, 85, 90, 95, 100):
        at_y = y(percent / 100)
        body.append(f'<path d="M{LEFT} {at_y:.1f} H{WIDTH - RIGHT}" stroke="#ddd"/>')
        body.append(f'<text x="{LEFT - 8}" y="{at_y + 4:.1f}" text-anchor="end">{percent} %</text>')
    for i, (name, curve, dash) in enumerate(curves):
        colour = "#000" if dash else COLOURS[i % len(COLOURS)]
        dash = dash if curve.name != "WEBP" else "2 3"
        points = sorted(p for p in curve.points if p[1] >= 0.8)
        path = " ".join(f"{x(s):.1f},{y(a):.1f}" for s, a in points)
        style = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash or "none"}"'
        body.append(f'<polyline points="{path}" fill="none" {style}/>')
        body += [f'<circle cx="{x(s):.1f}" cy="{y(a):.1f}" r="3" fill="{colour}"/>' for s, a in points]
        at_y = TOP + 12 + 18 * i
        body.append(f'<path d="M{WIDTH - RIGHT + 14} {at_y - 4} h24" {style}/>')
        body.append(f'<text x="{WIDTH - RIGHT + 44}" y="{at_y}">{name}</text>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    body.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">bytes sent per image</text>')
    turn = f"rotate(-90 18 {HEIGHT / 2})"
    label = "answers that agree with the whole model"
    body.append(f'<text x="18" y="{HEIGHT / 2}" text-anchor="middle" transform="{turn}">{label}</text>')
    style = "font:12px sans-serif"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" style="{style}">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *body, "</svg>", ""])


if __name__ == "__main__":
    main()
