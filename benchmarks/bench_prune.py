"""Pruning ResNet-8 by 30 % of its operations: accuracy without labels, and time in LiteRT beside float.

Half of the zoo's JPEG copy of CIFAR-10's test images, without those that the lossless set holds too, and
200 training images calibrate, all without their labels; the other half, and the 250 lossless ones, test.
More inputs to learn from are cut out of the zoo's 100 photographs of other things. Set SAMPLES to calibrate
with more or fewer, PHOTOS=0 to do without the photographs. Takes some ten minutes.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgecut.ir import work
from edgecut.ir.program import Program
from edgecut.passes import pipeline, registry
from edgecut.passes.base import Context
from edgecut.passes.numerics import Runner

ZOO = Path(__file__).resolve().parent.parent.parent / "shared" / "zoo"
MODEL = ZOO / "models" / "resnet8_cifar10.onnx"
SAMPLES = int(os.environ.get("SAMPLES", "1100"))
# Parts cut out of photographs.
PARTS = 5000 if os.environ.get("PHOTOS", "1") != "0" else 0
# Mean squared difference of pixels below which two images are copies of one another, compressed or not.
COPY = 300.0

Images = np.ndarray[Any, Any]


def main() -> None:
    print("## Pruning\n")
    if not ZOO.is_dir():
        print("The model zoo is not on this machine.")
        return
    logging.disable(logging.WARNING)
    jpeg = np.load(ZOO / "data/cifar10/cifar10_test_2000.npz")
    exact = np.load(ZOO / "data/cifar10/cifar10_test_lossless_250.npz")
    train = np.load(ZOO / "data/cifar10/cifar10_train_calib_200.npz")
    tests = {
        "JPEG": (jpeg["images"][1::2], jpeg["labels"][1::2]),
        "lossless": (exact["images"], exact["labels"]),
    }
    with tempfile.TemporaryDirectory() as name:
        os.environ["EDGECUT_CACHE"] = str(Path(name) / "store")
        path = Path(name) / "calibration.npz"
        np.savez(
            path,
            allow_pickle=False,
            input=_calibration(jpeg["images"][::2], exact["images"], train["images"]),
        )
        parts = _cut(Path(name) / "parts.npz") if PARTS else None
        programs = _variants(path, parts)
        more = f", and {PARTS} parts of 100 photographs" if PARTS else ""
        print(f"ResNet-8 at -30 % MACs, {SAMPLES} unlabelled calibration images{more}.\n")
        columns = [f"top-1, {t} % (agreement)" for t in tests]
        print("| variant | MACs | " + " | ".join([*columns, "gained, both (standard error)"]) + " |")
        print("|---|---|" + "---|" * (len(tests) + 1))
        before = [_answers(programs["float"], images) for images, _ in tests.values()]
        for variant, program in programs.items():
            row = _row(
                before, [_answers(program, i) for i, _ in tests.values()], [t for _, t in tests.values()]
            )
            print(f"| {variant} | {_macs(program) / 1e6:.2f} M | " + " | ".join(row) + " |", flush=True)
        _times({v: programs[v] for v in ("float", "pruned", "pruned, finetuned, int8")}, Path(name))


def _calibration(images: Images, tests: Images, train: Images) -> Images:
    flat, other = (a.reshape(len(a), -1).astype(np.float32) for a in (images, tests))
    distance = (flat**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * flat @ other.T
    fresh = np.flatnonzero(distance.min(axis=1) / flat.shape[1] > COPY)
    every = np.concatenate([images[fresh], train])
    return every[np.random.default_rng(0).permutation(len(every))[:SAMPLES]].astype(np.float32)


def _cut(path: Path) -> Path:
    """Squares of photographs, from a quarter of their size on, as small as the network's images."""
    random, found = np.random.default_rng(0), []
    photos = [Image.open(p).convert("RGB") for p in sorted((ZOO / "data/imagenet/images").glob("*.jpg"))]
    for index in range(PARTS):
        photo = photos[index % len(photos)]
        side = round(min(photo.size) * 4 ** (random.random() - 1))
        left, top = (int(random.integers(0, size - side + 1)) for size in photo.size)
        part = photo.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BICUBIC)
        found.append(np.asarray(part, np.float32))
    np.savez(path, allow_pickle=False, input=np.stack(found))
    return path


def _variants(data: Path, parts: Path | None) -> dict[str, Program]:
    def run(text: str, program: Program) -> Program:
        return pipeline.run(registry.pipeline(text), program, Context())

    whole = run(f"import{{model={MODEL}}},simplify", Program.empty())
    inputs = f"calibration={data}" + (f",unlabelled={parts}" if parts else "")
    pruned = run(f"prune{{macs=0.3,augment=auto,{inputs}}}", whole.copy())
    tuned = run(f"finetune{{{inputs}}}", pruned.copy())
    quantize = f"quantize{{calibration={data}}}"
    return {
        "float": whole,
        "pruned": pruned,
        "pruned, int8": run(quantize, pruned.copy()),
        "pruned, finetuned": tuned,
        "pruned, finetuned, int8": run(quantize, tuned.copy()),
    }


def _answers(program: Program, images: Images) -> Images:
    """The class of each image."""
    run, (output,) = Runner(program), program.outputs
    return np.array([run({"input": i[None].astype(np.float32)})[output.name].argmax() for i in images])


def _row(before: list[Images], after: list[Images], labels: list[Images]) -> list[str]:
    """Top-1 and agreement on each test set, and points of top-1 gained on all images together."""
    cells = [
        f"{100 * np.mean(found == true):.1f} ({100 * np.mean(found == old):.1f})"
        for old, found, true in zip(before, after, labels, strict=True)
    ]
    old, found, true = map(np.concatenate, (before, after, labels))
    gained = 100.0 * ((found == true).astype(float) - (old == true))
    return [*cells, f"{gained.mean():+.1f} ({gained.std() / len(gained) ** 0.5:.1f})"]


def _macs(program: Program) -> int:
    return sum(map(work.macs, program.nodes))


def _times(programs: dict[str, Program], folder: Path) -> None:
    """One interleaved run in LiteRT, one thread; the median of the ratios of neighbouring rounds."""
    from ai_edge_litert.interpreter import Interpreter

    runs = {}
    for name, program in programs.items():
        path = folder / f"{len(runs)}.tflite"
        program.save(folder / "ir.onnx")
        text = f"import{{model={folder / 'ir.onnx'}}},convert{{to={path}}}"
        pipeline.run(registry.pipeline(text), Program.empty(), Context(output=folder))
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.full(detail["shape"], 100, detail["dtype"]))
        runs[name] = interpreter.invoke
    rounds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(400):
        for name, invoke in runs.items():
            start = time.perf_counter()
            invoke()
            rounds[name].append(time.perf_counter() - start)
    print("\nLiteRT, one thread, 400 interleaved rounds: times as fast as float (median of rounds).\n")
    for name, seconds in rounds.items():
        ratio = statistics.median(f / s for f, s in zip(rounds["float"], seconds, strict=True))
        print(f"- {name}: {ratio:.2f} ({1e6 * statistics.median(seconds):.0f} us)")


if __name__ == "__main__":
    main()
