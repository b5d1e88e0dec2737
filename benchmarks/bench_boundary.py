"""What crosses: bytes at equal agreement, for every cut worth looking at, beside integers and images.

Usage: python benchmarks/bench_boundary.py [MODEL ...] [--picture FILE]      (all four by default)

Coders are fitted to other samples than those they are judged on: to data of their own where the zoo has
such, else crosswise (four times three quarters, each judged on the last quarter).
"""

from __future__ import annotations

import argparse
import io
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
from PIL import Image

from edgecut.frontends import data
from edgecut.ir import encoding, extract, transform
from edgecut.ir.annotations import Coding
from edgecut.ir.encoding import Spec
from edgecut.ir.program import Program, static_shape
from edgecut.passes import recipes
from edgecut.passes.base import Context
from edgecut.passes.boundary import activations, candidate, sensitivity, statistics
from edgecut.passes.numerics import Runner
from edgecut.runtime.boundary import rounded
from edgecut.runtime.stream import CHUNK_HEAD, HEADER_BYTES
from edgecut.runtime.symbols import ESCAPE
from edgecut.runtime.tables import GROUP, Tables

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT.parent / "shared" / "zoo"
TARGETS = (0.99, 0.98, 0.96, 0.90)
STEPS = (0.25, 0.35, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 1.0, 1.3, 1.8, 2.6)
QUALITIES = (100, 97, 95, 94, 93, 92, 91, 90, 88, 85, 80, 70, 50)
FOLDS = 4
SHOWN = {"JPEG": "JPEG", "WEBP": "WebP"}


@dataclass(frozen=True)
class Network:
    """A model of the zoo and its data; ``image`` where its input is one."""

    file: str
    test: str
    calibration: str | None = None
    image: recipes.Image | None = None
    mirrored: bool = False
    """Whether each image is taken twice, once from the left and once from the right; both in one fold."""
    limit: int = 400


NETWORKS = {
    "MobileNetV2": Network(
        "mobilenetv2_imagenet.onnx", "imagenet/images", None, recipes.Image("input", (127.5,), (127.5,)), True
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
    over: float
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
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for name in options.models:
            start = time.perf_counter()
            rows, images = measure(name, options.cuts, pool)
            print(table(name, rows, images), flush=True)
            if name == "MobileNetV2":
                options.picture.write_text(picture(rows, images), encoding="utf-8")
                print("![Rate against agreement](../docs/boundary.svg)\n")
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


INTRODUCTION = """Bytes per inference (mean) with which at least 99, 98, 96 and 90 % of the answers
(top-1) are those of the float model, at every cut where one tensor crosses that is small enough to be
worth a look (smaller than the input or 64 K elements, and no larger than twice an earlier one); of
successive cuts of one shape the first and the last, and none right before one that sends less than half
of it. Thirteen steps were tried, with the transform that takes the fewest bytes, and thirteen qualities of
JPEG and WebP: the fewest bytes of those that reach the agreement count. Samples that coders were fitted to
(and sensitivities measured on) are not among those counted, nor mirror images of these. 200 images for
MobileNetV2 (100, each also mirrored), 250 for ResNet-8, 400 samples for the others. *int8* is one scale for
the tensor, *+zlib* what zlib makes of it. *Over entropy*: bytes of the coded chunks over the information of
their symbols under the tables, at the 96 % step; beside them a stream has 8 bytes, and 7 for each chunk,
which are in the bytes. Encode and decode: at that step, transform included, the fastest of several, NumPy,
one thread.
"""


class Work:
    """A model and its samples, once in each process."""

    def __init__(self, network: Network) -> None:
        passes = recipes.Source(ZOO / "models" / network.file, image=network.image).front()
        passes.append(recipes.make("profile", edge="raspberrypi4", cloud="x86-vm"))
        program = Program.empty()
        for item in passes:
            program = item.run(program, Context())
        self.program = program
        tested = list(data.load(ZOO / "data" / network.test, program.inputs))
        self.tested = tested[:: max(1, len(tested) // network.limit)][: network.limit]
        if network.mirrored:
            assert len(tested) % FOLDS == 0, "an image and its mirror image are in one fold"
            self.tested += [{k: v[:, :, ::-1].copy() for k, v in sample.items()} for sample in self.tested]
        self.other = []
        if network.calibration:
            self.other = list(data.load(ZOO / "data" / network.calibration, program.inputs))[:200]
        self.whole = Runner(program)
        self.answers = np.array([candidate.top(self.whole(sample)) for sample in self.tested])


@lru_cache(maxsize=1)
def work(name: str) -> Work:
    return Work(NETWORKS[name])


def measure(name: str, only: list[str] | None, pool: Pool) -> tuple[list[Row], list[Curve]]:
    network, tensors = NETWORKS[name], chosen(work(name).program, only)
    kinds = ["JPEG", "WEBP"] if network.image else []
    images = pool.starmap_async(uploads, [(name, kind) for kind in kinds], chunksize=1)
    found = pool.starmap(row, [(name, tensor) for tensor in tensors], chunksize=1)
    uploaded = images.get()
    for made, part, coding, spec in found:  # alone on the machine
        tried = candidate.attempt(part, coding, spec)
        made.encode_ms, made.decode_ms = 1e3 * tried.encode_s, 1e3 * tried.decode_s
    return [made for made, *_ in found], uploaded


def chosen(program: Program, only: list[str] | None) -> list[str]:
    """Tensors that cross alone, see the introduction."""
    places = [p for p in activations.worthwhile(program) if len(p.cut.crossing) == 1]
    names = [p.made[0] for p in places]
    shapes = [static_shape(program.value(name)) or () for name in names]
    found = []
    for i, (place, name) in enumerate(zip(places, names, strict=True)):
        _, cloud = extract.split(program, place.cut)
        before = extract.ancestors([program.value(name)])
        works = any(n.op_type in activations.WEIGHTED for n in cloud.nodes) if cloud else False
        if only:
            keep = name in only
        elif not works or not any(n.op_type in activations.WEIGHTED for n in before):
            keep = False
        else:
            after = shapes[i + 1] if i + 1 < len(names) else ()
            inside = i > 0 and shapes[i - 1] == shapes[i] == after
            keep = not inside and not (
                after and 2 * math.prod(after) < math.prod(shapes[i]) and len(after) > 3
            )
        if keep:
            found.append(name)
    return found


def folds(samples: int, tested: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of samples to fit to, and of those to report on: the tested ones come first."""
    if samples > tested:
        yield np.arange(tested, samples), np.arange(tested)
        return
    fold = np.arange(tested) % FOLDS
    for k in range(FOLDS):
        yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)


def row(model: str, name: str) -> tuple[Row, candidate.Candidate, Coding, Spec]:
    """Figures of one tensor, but for the times, and what these are measured with."""
    item = work(model)
    program, answers = item.program, item.answers
    (place,) = (p for p in activations.worthwhile(program) if p.cut.crossing == (name,))
    (seen,) = activations.walk(program, [place], [*item.tested, *item.other])
    _, cloud = extract.split(program, place.cut)
    assert cloud is not None
    suffix, parts = Runner(cloud), []
    for fit, index in folds(len(seen.feeds), len(answers)):
        feeds = [seen.feeds[i] for i in (*fit, *index)]
        part = activations.Seen(place, feeds, seen.grids).divided(name, len(fit))
        coding = statistics.of_value(part.real(part.fit), statistics.channel_axis(program, name))
        parts.append((part, sensitivity.weigh(coding, part, cloud, feeds[: len(fit)]), index))
    first, coding, _ = parts[0]
    kinds = [k for k in encoding.TRANSFORMS if candidate.usable(at(k, 0.5), first, coding)]
    sizes = {k: np.mean(candidate.attempt(first, coding, at(k, 0.5)).sizes) for k in kinds}
    kind = min(kinds, key=lambda k: sizes[k])
    curve, steps = Curve(kind), {}
    for step in STEPS:
        tried = [(candidate.attempt(part, stat, at(kind, step)), index) for part, stat, index in parts]
        size = float(np.average([np.mean(t.sizes) for t, _ in tried], weights=[len(i) for _, i in tried]))
        same = 0
        for result, index in tried:
            for i, k in enumerate(index):
                same += candidate.top(suffix({name: result.values[i : i + 1]})) == answers[k]
        curve.points.append((size, same / len(answers)))
        steps[size] = step
        if same < 0.85 * len(answers):
            break
    best = curve.at(0.96) or curve.points[0][0]
    spec = at(kind, steps[best])
    plain = candidate.attempt(first, coding, Spec("int8"))
    packed = candidate.attempt(first, coding, Spec("int8", coder="zlib"))
    elements = math.prod(first.shape)
    over = over_entropy(first, coding, spec)
    made = Row(
        name,
        first.shape[1:],
        4 * elements,
        plain.sizes[0],
        float(np.mean(packed.sizes)),
        curve,
        over,
        0.0,
        0.0,
    )
    print(f"  {name} {made.shape}", file=sys.stderr, flush=True)
    return made, first, coding, spec


def over_entropy(part: candidate.Candidate, coding: Coding, spec: Spec) -> float:
    """Bytes of the chunks over the information of what they hold under their tables, less 1."""
    tried, form = candidate.attempt(part, coding, spec), transform.make(spec, coding, part.shape)
    found = Tables.parse(tried.coder.tables)
    made = rounded(form.forward(part.real(part.report)), form.rounding, tried.coder.low, tried.coder.high)
    ideal = sum(information(found, values) for values in made.reshape(len(made), -1))
    framing = HEADER_BYTES + CHUNK_HEAD * len(found.chunks)
    return 8 * (sum(tried.sizes) - framing * len(made)) / ideal - 1


def information(found: Tables, values: np.ndarray) -> float:
    """Bits of a tensor under its tables, raw ones included."""
    low = 0 if found.signed else found.low
    padded = np.append(np.abs(values.astype(np.int64) - low), 0)
    total = 0.0
    for chunk in found.chunks:
        dense, groups = padded[chunk.dense], padded[chunk.groups]
        upper, some = dense >> chunk.shifts, groups > 0
        patterns = some.reshape(-1, GROUP) @ (1 << np.arange(GROUP))
        follow = groups[some] - 1
        symbols = np.minimum(np.concatenate([upper, patterns, follow]), ESCAPE)
        total += found.rans.bits(symbols, np.concatenate([chunk.first, chunk.rest[some]]))
        total += float(chunk.shifts.sum())
        total += float(np.log2(np.maximum(np.concatenate([upper, follow]) - ESCAPE + 1, 1)).sum())
        if found.signed:
            total += np.count_nonzero(dense) + np.count_nonzero(some)
    return total


def at(kind: str, step: float) -> Spec:
    return Spec(kind, step, coder="rans")


def uploads(model: str, kind: str) -> Curve:
    """What sending the image in place of a tensor takes."""
    curve, item = Curve(kind), work(model)
    for quality in QUALITIES:
        same, sizes = 0, []
        for sample, answer in zip(item.tested, item.answers, strict=True):
            ((name, x),) = sample.items()
            buffer = io.BytesIO()
            Image.fromarray(x[0]).save(buffer, kind, quality=quality)
            sizes.append(buffer.tell())
            back = np.asarray(Image.open(buffer).convert("RGB"))
            same += candidate.top(item.whole({name: back[None]})) == answer
        curve.points.append((float(np.mean(sizes)), same / len(item.answers)))
    return curve


def table(name: str, rows: list[Row], images: list[Curve]) -> str:
    head = ["cut", "shape", "float32", "int8", "+zlib", "transform", *(f"{t:.0%}" for t in TARGETS)]
    head += ["over entropy", "encode ms", "decode ms"]
    lines = [f"### {name}\n", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for curve in images:
        lines.append(f"| {SHOWN[curve.name]} of the image | | | | | | {_bytes(curve)} | | | |")
    for r in rows:
        shape = "x".join(map(str, r.shape))
        start = f"| {r.name} | {shape} | {r.float32:,} | {r.int8:,} | {r.int8_zlib:,.0f} | {r.curve.name} "
        lines.append(f"{start}| {_bytes(r.curve)} | {r.over:.1%} | {r.encode_ms:.2f} | {r.decode_ms:.2f} |")
    return "\n".join([*lines, ""])


def _bytes(curve: Curve) -> str:
    found = [curve.at(target) for target in TARGETS]
    return " | ".join("-" if size is None else f"{size:,.0f}" for size in found)


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 480, 70, 230, 30, 55
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f", "#bcbd22")


def picture(rows: list[Row], images: list[Curve]) -> str:
    """Rate against agreement: one curve for each cut, the images' dashed."""
    chosen: dict[tuple[int, ...], Row] = {}
    for r in rows:  # of several cuts of one shape the one that takes the fewest bytes
        known = chosen.get(r.shape)
        if known is None or (r.curve.at(0.96) or math.inf) < (known.curve.at(0.96) or math.inf):
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
