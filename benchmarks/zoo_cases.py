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


def cases(*, ten_crops: bool = False) -> Iterator[Case]:
    """All of them; with ten crops of each test image of ImageNet, or the one in its centre."""
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
    centres, count = images[:, 0], 10 if ten_crops else 1
    test = images[40:, :count].reshape(-1, *centres.shape[1:])
    labels = classes[40:].repeat(count)
    yield _case("MobileNetV2", "mobilenetv2_imagenet", "input", centres[:40], test, labels)


def _case(name: str, model: str, input_: str, calibration: Array, test: Array, labels: Array) -> Case:
    path = ZOO / "models" / f"{model}.onnx"
    floats = calibration.astype(np.float32), test.astype(np.float32)
    return Case(name, path, input_, *floats, labels.astype(np.int64))


def _imagenet(folder: Path) -> tuple[Array, NDArray[np.int64]]:
    """Images as [images, crops, channels, 224, 224], and their classes."""
    import csv

    from PIL import Image

    rows = list(csv.DictReader((folder / "labels.csv").open()))
    order = np.random.default_rng(0).permutation(len(rows))
    images = []
    for index in order:
        with Image.open(folder / "images" / rows[index]["file"]) as image:
            crops = _ten_crops(np.asarray(image.convert("RGB"), np.float32))
        images.append((crops / 127.5 - 1).transpose(0, 3, 1, 2))
    return np.stack(images), np.asarray([int(rows[i]["class_index_1001"]) for i in order])


def _ten_crops(pixels: Array) -> Array:
    """The centre and the corners, and all of them mirrored: [10, 224, 224, 3]."""
    down, right = pixels.shape[0] - 224, pixels.shape[1] - 224
    corners = [(down // 2, right // 2), (0, 0), (0, right), (down, 0), (down, right)]
    found = np.stack([pixels[y : y + 224, x : x + 224] for y, x in corners])
    return np.concatenate([found, found[:, :, ::-1]])
