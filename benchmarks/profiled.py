"""Models that the benchmarks of profiles use: those of the zoo, and generated ones, in float and in int8."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgecut.ir.program import Program
from edgecut.passes import pipeline, recipes
from edgecut.passes.base import Context

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT.parent / "shared" / "zoo"
sys.path.insert(0, str(ROOT / "fixtures"))
ZOO_DATA = {
    "mobilenetv2_imagenet": "data/imagenet/images",
    "resnet8_cifar10": "data/cifar10/cifar10_train_calib_200.npz",
    "kws_dscnn": "data/speech_commands/kws_mfcc_test_500.npz",
    "ecg_cnn_mitbih": "data/ecg_mitbih/beats_train_calib.npz",
}
IMAGES = {
    "mobilenetv2_imagenet": recipes.Image("input", (127.5,), (127.5,)),
    "resnet8_cifar10": recipes.Image("input"),
}


def programs(generated: Sequence[str]) -> Iterator[tuple[str, Program]]:
    """Every model of the zoo and these generated ones, ready to be profiled, in float and in int8."""
    from networks import cache

    folder = cache.files(generated, small=False)
    sources = [recipes.Source(ZOO / "models" / f"{n}.onnx", image=IMAGES.get(n), calibration=ZOO / d)
               for n, d in ZOO_DATA.items()]  # fmt: skip
    sources += [recipes.Source(folder / f"{n}.onnx", calibration=folder / f"{n}.npz") for n in generated]
    for source in sources:
        for scheme in ("float", "int8"):
            chain = source.front()
            if scheme == "int8":
                chain.append(recipes.make("quantize", calibration=source.calibration, samples=16))
            yield f"{source.model.stem} {scheme}", pipeline.run(chain, Program.empty(), Context())
