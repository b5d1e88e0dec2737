"""Writes data/keras_layers.csv: the work of every layer of the networks in keras.applications.

The published per-layer timings that predictions are checked against name layers by their number. This
makes the counts to go with them once, so that the check itself needs no TensorFlow:

    python benchmarks/keras_layers.py
"""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "keras_layers.csv"
NETWORKS = {
    "vgg16": "VGG16", "vgg19": "VGG19", "resnet50": "ResNet50", "resnet101": "ResNet101",
    "resnet152": "ResNet152", "resnet50v2": "ResNet50V2", "resnet101v2": "ResNet101V2",
    "resnet152v2": "ResNet152V2", "inception_v3": "InceptionV3", "inceptionresnet_v2": "InceptionResNetV2",
    "xception": "Xception", "mobilenet": "MobileNet", "mobilenetv2": "MobileNetV2",
    "densenet121": "DenseNet121", "densenet169": "DenseNet169", "densenet201": "DenseNet201",
}  # fmt: skip
KINDS = {
    "Activation": "elementwise", "ReLU": "elementwise", "Add": "elementwise", "Multiply": "elementwise",
    "BatchNormalization": "elementwise", "Rescaling": "elementwise", "CustomScaleLayer": "elementwise",
    "MaxPooling2D": "pool", "AveragePooling2D": "pool", "GlobalAveragePooling2D": "pool",
    "ZeroPadding2D": "layout", "Concatenate": "layout", "Flatten": "layout", "Reshape": "layout",
    "Dropout": "layout", "InputLayer": "layout", "Lambda": "elementwise",
}  # fmt: skip
VIEWS = ("InputLayer", "Flatten", "Reshape", "Dropout")
# Layers that these networks had in TensorFlow 2.1, where the timings were taken, and have no longer: the
# padding of 224 to 225 pixels before the first convolution, and a reshape behind the global pooling.
PADDED = 4 * 225 * 225 * 3
ONCE = {
    "mobilenet": {1: ("layout", 0, 4 * 224 * 224 * 3 + PADDED, 0, PADDED), 88: ("layout", 0, 0, 0, 4096)},
    "mobilenetv2": {1: ("layout", 0, 4 * 224 * 224 * 3 + PADDED, 0, PADDED)},
}
Figures = tuple[str, int, int, int]
"""Kind, multiply-accumulates, bytes moved, bytes of weights."""


def elements(shape: Any) -> int:
    return math.prod(d or 1 for d in shape)


def describe(layer: Any) -> list[Figures]:
    """The operators that one layer is: a separable convolution is two."""
    name = type(layer).__name__
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    read, out = 4 * sum(elements(i.shape) for i in inputs), layer.output.shape
    written = 4 * elements(out)
    kernel = [tuple(w.shape) for w in layer.weights if len(w.shape) > 1]
    weights = 4 * sum(math.prod(w.shape) for w in layer.weights)
    if name in VIEWS:
        return [(KINDS[name], 0, 0, 0)]
    if name == "DepthwiseConv2D":
        return [("depthwise", elements(out) * math.prod(kernel[0][:2]), read + written + weights, weights)]
    if name == "SeparableConv2D":
        between = elements(out) // out[-1] * kernel[0][2]
        first, second = (4 * math.prod(k) for k in kernel)
        depthwise = ("depthwise", between * math.prod(kernel[0][:2]), read + 4 * between + first, first)
        return [
            depthwise,
            ("pointwise", elements(out) * kernel[1][2], 4 * between + written + second, second),
        ]
    if name == "Conv2D":
        kind = "pointwise" if kernel[0][:2] == (1, 1) else "conv"
        return [(kind, elements(out) * math.prod(kernel[0][:3]), read + written + weights, weights)]
    if name == "Dense":
        return [("dense", math.prod(kernel[0]), read + written + weights, weights)]
    return [(KINDS[name], 0, read + written + weights, weights)]


def layers(name: str, network: Any) -> list[tuple[list[Figures], int]]:
    """Operators and output bytes of every layer, numbered as they were in TensorFlow 2.1."""
    found = [(describe(layer), 4 * elements(layer.output.shape)) for layer in network.layers]
    for place, (*figures, output) in sorted(ONCE.get(name, {}).items()):
        kind, *numbers = figures
        found.insert(place, ([(str(kind), *map(int, numbers))], int(output)))  # type: ignore[arg-type]
    return found


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    from tensorflow import keras

    rows: list[tuple[object, ...]] = []
    for name, cls in NETWORKS.items():
        keras.backend.clear_session()
        network = getattr(keras.applications, cls)(weights=None)
        for i, (operators, output) in enumerate(layers(name, network)):
            rows += [(name, i, *figures, output) for figures in operators]
    DATA.parent.mkdir(exist_ok=True)
    with DATA.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("model", "layer", "kind", "macs", "bytes", "weight_bytes", "output_bytes"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
