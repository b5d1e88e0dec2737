"""Trained models with real labelled data, in two parts that share no sample, and how a variant does on them.

ImageNet has 100 images in all: 40 calibrate, 60 test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecut.passes.numerics import Difference, Sample

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT.parent / "shared" / "zoo"

Array = NDArray[np.float32]
Run = Callable[[Sample], Sample]


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


def measure(reference: Run, variant: Run, case: Case) -> Figures:
    """Run both on the test samples."""
    difference = Difference()
    for sample, label in zip(case.samples(), case.labels.tolist(), strict=True):
        difference.add(reference(sample), variant(sample), label)
    assert difference.accuracy is not None
    return Figures(difference.accuracy[1], difference.agreement or 0.0, difference.sqnr_db)


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
