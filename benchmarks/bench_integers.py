"""int8 in LiteRT beside ONNX Runtime's QDQ: kernels on equal inputs, and whole networks.

The last column compares ONNX Runtime with itself: its float fusions on and off, integer kernels in neither.
It adds the same numbers in another order, and so shows what no implementation can be held to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecut.ir import sessions
from edgecut.ir.extract import named_cut, subgraph
from edgecut.ir.program import Program
from edgecut.passes import pipeline, recipes
from edgecut.passes.base import Context
from edgecut.passes.quantize import integers
from edgecut.targets.tflite import backend, pack, verify

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT.parent / "shared" / "zoo"
GENERATED = (
    "mobilenetv2",
    "mobilenetv3s",
    "shufflenetv2",
    "resnet18",
    "efflite0",
    "unet",
    "yolo",
    "ecg1d",
    "dscnn",
)
TRAINED = {
    "resnet8_cifar10": ("cifar10/cifar10_train_calib_200.npz", "images"),
    "kws_dscnn": ("speech_commands/kws_mfcc_test_500.npz", "mfcc"),
    "ecg_cnn_mitbih": ("ecg_mitbih/beats_train_calib.npz", "beats"),
}
Array = NDArray[np.generic]
Sample = dict[str, Array]


@dataclass
class Count:
    """How many values differ, of how many."""

    all: int = 0
    differ: int = 0
    by_more: int = 0

    def add(self, one: Array, other: Array) -> None:
        steps = np.abs(one.astype(np.int64) - other.reshape(one.shape).astype(np.int64))
        self.all += steps.size
        self.differ += int((steps > 0).sum())
        self.by_more += int((steps > 1).sum())


HEAD = """\
## int8: LiteRT and ONNX Runtime

Values that differ given equal inputs, kernel by kernel; then the share of all int8 values inside the whole
network that are more than one step apart, in LiteRT and in ONNX Runtime adding in another order.

| network | int8 values | kernels: differ | by more than 1 | LiteRT, whole | ONNX Runtime, whole |
|---|---|---|---|---|---|"""


def main() -> None:
    print(HEAD)
    for name, program, samples in cases():
        print(f"{name} ...", file=sys.stderr)
        quantized = integers.calibrated(program, samples[:-1]).quantized()
        alone, whole, itself = compared(quantized, samples[-1])
        inside = f"{whole.by_more / whole.all:.3%} | {itself.by_more / itself.all:.3%}"
        print(f"| {name} | {alone.all:,} | {alone.differ} | {alone.by_more} | {inside} |", flush=True)


def cases() -> Iterator[tuple[str, Program, list[Sample]]]:
    for name, (file, key) in TRAINED.items() if ZOO.is_dir() else ():
        program = imported(ZOO / "models" / f"{name}.onnx")
        arrays = np.load(ZOO / "data" / file)[key][:16].astype(np.float32)
        yield f"{name} (trained)", program, [{program.inputs[0].name: a[None]} for a in arrays]
    sys.path.insert(0, str(ROOT / "fixtures" / "networks"))
    import cache

    names = sys.argv[1:] or GENERATED
    folder = cache.files(names, small=False)
    for name in names:
        program = imported(folder / f"{name}.onnx")
        (spec,) = program.inputs
        arrays = np.load(folder / f"{name}.npz")[spec.name]
        yield name, program, [{spec.name: a[None] if a.ndim < len(spec.shape) else a} for a in arrays]


def imported(path: Path) -> Program:
    return pipeline.run(
        [recipes.make("import", model=path), recipes.make("simplify")], Program.empty(), Context()
    ).copy()


def compared(program: Program, sample: Sample) -> tuple[Count, Count, Count]:
    """Kernels alone, the network as a whole, and ONNX Runtime against itself."""
    cut, lowered = named_cut(program, "edge-only"), backend.lower(program)
    parts = verify._parts(program, cut, backend.groups_of(program, lowered))
    held = lowered.graph.values
    made = list(dict.fromkeys(n for p in parts for n in p.makes if held[n].dtype == np.int8))
    read = [n for p in parts for n in p.reads if n not in sample]
    names = list(dict.fromkeys([*made, *read]))
    exact, reordered = (onnxruntime(program, names, sample, optimize=o) for o in (False, True))
    runner, alone = verify._Runner(program, lowered, parts), Count()
    for number, part in enumerate(parts):
        found = runner.run(number, {**sample, **{n: exact[n] for n in part.reads if n in exact}})
        for n in set(part.makes) & set(made):
            alone.add(found[n], runner.held(n, exact[n]))
    from ai_edge_litert.interpreter import Interpreter

    file = pack.pack([backend.signature(program, lowered, "all", made)], {}, {})
    found = Interpreter(model_content=file, num_threads=1).get_signature_runner("all")(**sample)
    whole, itself = Count(), Count()
    for n in made:
        whole.add(found[n], runner.held(n, exact[n]))
        itself.add(reordered[n], exact[n])
    return alone, whole, itself


def onnxruntime(program: Program, names: list[str], sample: Sample, *, optimize: bool) -> Sample:
    import onnxruntime as ort

    options = sessions.options(optimize=optimize, quiet=True)
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    part = subgraph(program, [spec.name for spec in program.inputs], names, "watched")
    session = ort.InferenceSession(part.bytes(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, sample), strict=True))


if __name__ == "__main__":
    main()
