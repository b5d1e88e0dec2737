"""int8 in LiteRT beside ONNX Runtime's QDQ: kernels on equal inputs, and whole networks.

The last columns compare ONNX Runtime with itself: its float fusions on and off, and functions such as
LayerNormalization by its kernel and by the operators that define them; integer kernels in neither. It adds
the same numbers in another order, and so shows what no implementation can be held to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zoo_cases
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
    "mobilenetv2", "mobilenetv3s", "shufflenetv2", "resnet18", "resnet8", "efflite0", "yolo", "unet",
    "deeplab", "dscnn", "ecg1d", "keras_mobilenet", "lstm", "gru", "bert_tiny", "keras_attention",
    "vit_tiny", "convnext",
)  # fmt: skip
# What ONNX defines by other operators, and ONNX Runtime has a kernel for.
FUNCTIONS = ("LayerNormalization", "Softmax", "Gelu")
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

Values that differ given equal inputs, kernel by kernel; then the share that is more than one step apart when
the network runs as a whole, of all int8 values inside of it and of its outputs, in LiteRT and in ONNX Runtime
adding in another order. An untrained transformer or ConvNeXt of 12 to 18 blocks in float between its matrices
spreads a single value that float32 rounds apart through all that follows, in either.

| network | int8 values | kernels: differ | by more than 1 | inside: LiteRT | ONNX Runtime | outputs: LiteRT | ONNX Runtime |
|---|---|---|---|---|---|---|---|"""  # noqa: E501


def main() -> None:
    print(HEAD)
    for name, program, samples in cases():
        print(f"{name} ...", file=sys.stderr)
        quantized = integers.calibrated(program, samples[:-1]).quantized()
        alone, whole, ends = compared(quantized, samples[-1])
        shares = " | ".join(share(count) for count in (*whole, *ends))
        print(f"| {name} | {alone.all:,} | {alone.differ} | {alone.by_more} | {shares} |", flush=True)


def share(count: Count) -> str:
    """Of values more than one step apart; a network that ends in float has no such outputs."""
    return f"{count.by_more / count.all:.3%}" if count.all else ""


def cases() -> Iterator[tuple[str, Program, list[Sample]]]:
    for case in zoo_cases.cases() if ZOO.is_dir() else ():
        arrays = [*case.calibration[:16], case.test[0]]
        yield f"{case.name} (trained)", imported(case.model), [{case.input: a[None]} for a in arrays]
    sys.path.insert(0, str(ROOT / "fixtures" / "networks"))
    import cache

    names = sys.argv[1:] or GENERATED
    folder = cache.files(names, small=False)
    for name in names:
        path = next(p for p in (folder / f"{name}.onnx", folder / f"{name}.keras") if p.exists())
        program = imported(path)
        # Keras numbers the names of its inputs as they are made, so they go by their order.
        arrays = dict(
            zip([spec.name for spec in program.inputs], np.load(folder / f"{name}.npz").values(), strict=True)
        )
        count = min(len(a) for a in arrays.values())
        yield name, program, [{k: a[i : i + 1] for k, a in arrays.items()} for i in range(count)]


def imported(path: Path) -> Program:
    return pipeline.run(
        [recipes.make("import", model=path), recipes.make("simplify")], Program.empty(), Context()
    ).copy()


Pair = tuple[Count, Count]


def compared(program: Program, sample: Sample) -> tuple[Count, Pair, Pair]:
    """Kernels alone; then LiteRT and ONNX Runtime against ONNX Runtime, inside and at the outputs."""
    cut, lowered = named_cut(program, "edge-only"), backend.lower(program)
    parts = verify._parts(program, cut, lowered)
    held = lowered.graph.values
    made = list(dict.fromkeys(n for p in parts for n in p.makes if held[n].dtype == np.int8))
    read = [n for p in parts for n in p.reads if n not in sample]
    names = list(dict.fromkeys([*made, *read]))
    exact, reordered = (onnxruntime(program, names, sample, reordered=r) for r in (False, True))
    runner, alone = verify._Runner(program, lowered, parts), Count()
    for number, part in enumerate(parts):
        found = runner.run(number, {**sample, **{n: exact[n] for n in part.reads if n in exact}})
        for n in set(part.makes) & set(made):
            alone.add(found[n], runner.held(n, exact[n]))
    from ai_edge_litert.interpreter import Interpreter

    file = pack.pack([backend.signature(program, lowered, "all", made)], {}, {})
    found = Interpreter(model_content=file, num_threads=1).get_signature_runner("all")(**sample)
    whole, ends = (Count(), Count()), (Count(), Count())
    last = {v.producer().inputs[0].name for v in program.graph.outputs if v.producer() is not None}
    for n in made:
        for counts in (whole, ends) if n in last else (whole,):
            counts[0].add(found[n], runner.held(n, exact[n]))
            counts[1].add(reordered[n], exact[n])
    return alone, whole, ends


def onnxruntime(program: Program, names: list[str], sample: Sample, *, reordered: bool) -> Sample:
    import onnx
    import onnxruntime as ort
    from onnx import inliner

    options = sessions.options(optimize=reordered, quiet=True)
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    model = subgraph(program, [spec.name for spec in program.inputs], names, "watched").bytes()
    if reordered:
        kinds = [("", name) for name in FUNCTIONS]
        inlined = inliner.inline_selected_functions(
            onnx.load_from_string(model), kinds, inline_schema_functions=True
        )
        model = inlined.SerializeToString()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, sample), strict=True))


if __name__ == "__main__":
    main()
