"""What compression costs: accuracy and output error on real labelled data, beside ONNX Runtime's quantizer.

Every figure is of test samples that no range, bias or weight was found from. ImageNet has 100 images in all:
40 calibrate, 60 test.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecut.ir.program import Program
from edgecut.passes import pipeline, registry
from edgecut.passes.base import Context
from edgecut.passes.numerics import Difference, Runner, Sample

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT.parent / "shared" / "zoo"

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A trained model with real data in two parts."""

    name: str
    model: Path
    input: str
    calibration: Array
    test: Array
    labels: NDArray[np.int64]

    def samples(self) -> Iterator[Sample]:
        return ({self.input: x[None]} for x in self.test)


@dataclass(frozen=True)
class Figures:
    """How one variant of a model does on the test samples."""

    accuracy: float
    agreement: float
    sqnr_db: float
    weight_bytes: int


def cases() -> Iterator[Case]:
    data = ZOO / "data"
    calibration = np.load(data / "cifar10/cifar10_train_calib_200.npz")["images"]
    test = np.load(data / "cifar10/cifar10_test_lossless_250.npz")
    yield _case("ResNet-8", "resnet8_cifar10", "input", calibration, test["images"], test["labels"])
    beats = np.load(data / "ecg_mitbih/beats_test.npz")
    calibration = np.load(data / "ecg_mitbih/beats_train_calib.npz")["beats"]
    yield _case("ECG", "ecg_cnn_mitbih", "beat", calibration, beats["beats"], beats["labels"])
    mfcc = np.load(data / "speech_commands/kws_mfcc_test_500.npz")
    features, labels = mfcc["mfcc"], mfcc["labels"]
    yield _case("DS-CNN", "kws_dscnn", "mfcc", features[:100], features[100:], labels[100:])
    images, classes = _imagenet(data / "imagenet")
    yield _case("MobileNetV2", "mobilenetv2_imagenet", "input", images[:40], images[40:], classes[40:])


def main() -> None:
    if not ZOO.is_dir():
        print("## Compression\n\nThe model zoo is not on this machine.")
        return
    logging.disable(logging.WARNING)
    print(
        "## Compression\n\nAccuracy is top-1; agreement and SQNR are with the float model, on test samples.\n"
    )
    print("| model | variant | top-1 % | agreement % | SQNR dB | MAC % | weights kB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        os.environ["EDGECUT_CACHE"] = str(Path(name) / "store")
        for case in cases():
            _rows(case, Path(name))


def _rows(case: Case, folder: Path) -> None:
    path = folder / "calibration.npz"
    np.savez(path, allow_pickle=False, **{case.input: case.calibration})
    front = f"import{{model={case.model}}},simplify"
    variants = {
        "float": "",
        "int8, minmax": f",quantize{{calibration={path},method=minmax}}",
        "int8": f",quantize{{calibration={path}}}",
        "int8, equalized": f",equalize{{calibration={path}}},quantize{{calibration={path}}}",
        "int8, biases corrected": f",quantize{{calibration={path}}},correct-bias{{calibration={path}}}",
        "-30 % MACs": f",prune{{macs=0.3,calibration={path}}}",
        "-30 % MACs, int8": f",prune{{macs=0.3,calibration={path}}},quantize{{calibration={path}}}",
    }
    programs = {name: _run(front + rest) for name, rest in variants.items()}
    programs["ONNX Runtime quantize_static"] = _onnxruntime(programs["float"], case, folder)
    for name, program in programs.items():
        found = measure(programs["float"], program, case)
        # (The other quantizer leaves no shapes to count by, but prunes nothing.)
        share = _macs(program) / _macs(programs["float"]) if name in variants else 1.0
        print(
            f"| {case.name} | {name} | {100 * found.accuracy:.1f} | {100 * found.agreement:.1f} "
            f"| {found.sqnr_db:.1f} | {100 * share:.0f} | {found.weight_bytes / 1000:.0f} |",
            flush=True,
        )


def measure(reference: Program, program: Program, case: Case) -> Figures:
    """Run both on the test samples."""
    first, second, difference, right = Runner(reference), Runner(program), Difference(), 0
    for sample, label in zip(case.samples(), case.labels, strict=True):
        expected, found = first(sample), second(sample)
        difference.add(expected, found)
        right += int(next(iter(found.values())).argmax() == label)
    agreement = difference.agreement or 0.0
    return Figures(right / len(case.labels), agreement, difference.sqnr_db, program.weight_bytes())


def _run(text: str) -> Program:
    return pipeline.run(registry.pipeline(text), Program.empty(), Context(), use_cache=False)


def _onnxruntime(program: Program, case: Case, folder: Path) -> Program:
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = ({case.input: x[None]} for x in case.calibration)

        def get_next(self) -> Sample | None:
            return next(self.rows, None)

    source, target = folder / "float.onnx", folder / "int8.onnx"
    program.save(source)
    kinds = {"activation_type": quantization.QuantType.QInt8, "weight_type": quantization.QuantType.QInt8}
    quantization.quantize_static(source, target, Reader(), per_channel=True, **kinds)
    return Program.load(target)


def _macs(program: Program) -> int:
    from edgecut.ir import work

    return sum(map(work.macs, program.nodes)) or 1


def _case(name: str, model: str, input_: str, calibration: Array, test: Array, labels: Array) -> Case:
    path = ZOO / "models" / f"{model}.onnx"
    floats = calibration.astype(np.float32), test.astype(np.float32)
    return Case(name, path, input_, *floats, labels.astype(np.int64))


def _imagenet(folder: Path) -> tuple[Array, NDArray[np.int64]]:
    import csv

    from PIL import Image

    rows = list(csv.DictReader((folder / "labels.csv").open()))
    order = np.random.default_rng(0).permutation(len(rows))
    images = []
    for index in order:
        with Image.open(folder / "images" / rows[index]["file"]) as image:
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            pixels = np.asarray(image.convert("RGB").crop((left, top, left + 224, top + 224)), np.float32)
        images.append((pixels / 127.5 - 1).transpose(2, 0, 1))
    return np.stack(images), np.asarray([int(rows[i]["class_index_1001"]) for i in order])


if __name__ == "__main__":
    main()
