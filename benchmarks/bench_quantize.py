"""What int8 costs: accuracy and output error on real labelled data, beside two other quantizers, and time.

Every figure is of test samples that no range, bias or weight was found from. Our files and those of
ai-edge-quantizer run in LiteRT, those of ONNX Runtime's quantizer in ONNX Runtime; all are compared with the
float model in ONNX Runtime. ImageNet has 60 test images only, of which a few undecided ones make most of the
error after a softmax, so ten crops of each are tested. ai-edge-quantizer is run if it is installed
(``pip install ai-edge-quantizer``).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from zoo_cases import ZOO, Case, cases, measure

from edgecut.ir import extract
from edgecut.ir.program import Program
from edgecut.passes import pipeline, registry
from edgecut.passes.base import Context
from edgecut.passes.numerics import Runner, Sample
from edgecut.targets import tflite

Run = Callable[[Sample], Sample]
# Bias correction runs every layer on all its samples; on the ImageNet net this takes many minutes.
REFINED = ("ResNet-8", "ECG", "DS-CNN")
TIMED_S = 4.0


def main() -> None:
    if not ZOO.is_dir():
        print("## Quantization\n\nThe model zoo is not on this machine.")
        return
    logging.disable(logging.WARNING)
    print("## Quantization\n")
    print("Top-1, agreement and signal to noise of the outputs with the float model, on test samples")
    print("(MobileNetV2: ten crops of each image); time of one inference in LiteRT, one thread, all variants")
    print("in turns (median, quartiles).\n")
    print("| model | int8 by | top-1 % | agreement % | SQNR dB | LiteRT us | of float |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        os.environ["EDGECUT_CACHE"] = str(Path(name) / "store")
        for case in cases(ten_crops=True):
            _rows(case, Path(name))
    print()
    _memory()


def _rows(case: Case, folder: Path) -> None:
    path = folder / "calibration.npz"
    np.savez(path, allow_pickle=False, **{case.input: case.calibration})
    front = f"import{{model={case.model}}},simplify"
    data = f"calibration={path}"
    texts = {"float": "", "edgecut": f",quantize{{{data}}}"}
    if case.name in REFINED:
        texts["edgecut, equalize"] = f",equalize{{{data}}},quantize{{{data}}}"
        texts["edgecut --refine"] = f",equalize{{{data}}},quantize{{{data}}},correct-bias{{{data}}}"
    programs = {name: _run(front + rest) for name, rest in texts.items()}
    files = {name: _emit(program) for name, program in programs.items()}
    other = _ai_edge_quantizer(files["float"], case)
    if other is not None:
        files["ai-edge-quantizer"] = other
    reference = Runner(programs["float"])
    runs: dict[str, Run] = {name: _litert(file, reference.names) for name, file in files.items()}
    runs["ONNX Runtime quantize_static"] = Runner(_onnxruntime(programs["float"], case, folder))
    times = _times(files)
    for name, run in runs.items():
        found = measure(reference, run, case)
        print(
            f"| {case.name} | {name} | {100 * found.accuracy:.1f} | {100 * found.agreement:.1f} "
            f"| {found.sqnr_db:.1f} | {_time(times.get(name))} | {_ratio(times, name)} |",
            flush=True,
        )


def _run(text: str) -> Program:
    return pipeline.run(registry.pipeline(text), Program.empty(), Context(), use_cache=False)


def _emit(program: Program) -> bytes:
    return tflite.emit(program, [extract.named_cut(program, "edge-only")]).data


def _interpreter(data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=data, num_threads=1)


def _litert(data: bytes, outputs: list[str]) -> Run:
    """A file as a function of real numbers; it has one output, whatever its name is there."""
    runner = _interpreter(data).get_signature_runner()
    ((name, reads),) = runner.get_input_details().items()
    ((made, gives),) = runner.get_output_details().items()
    (output,) = outputs

    def run(sample: Sample) -> Sample:
        found = runner(**{name: _stored(next(iter(sample.values())), reads)})[made]
        return {output: _real(found, gives)}

    return run


def _stored(array: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Real numbers as a file takes them, which may be integers."""
    scale, zero = details["quantization"]
    if not scale:
        return array
    limits = np.iinfo(details["dtype"])
    return np.clip(np.rint(array / scale) + zero, limits.min, limits.max).astype(details["dtype"])


def _real(array: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    scale, zero = details["quantization"]
    return (array.astype(np.float32) - zero) * scale if scale else array


def _ai_edge_quantizer(data: bytes, case: Case) -> bytes | None:
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError:
        return None
    runner = _interpreter(data).get_signature_runner()
    (name,) = runner.get_input_details()
    samples = {"cut0": [{name: x[None]} for x in case.calibration]}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        made = quantizer.Quantizer(bytearray(data), recipe.static_wi8_ai8())
        ranges = made.calibrate(samples, num_threads=1)
        return bytes(made.quantize(ranges, enable_progress_report=False).quantized_model)


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


def _times(files: dict[str, bytes]) -> dict[str, list[float]]:
    """Seconds of inferences, one of each file after the other, so that disturbances meet all."""
    ready = {name: _interpreter(data) for name, data in files.items()}
    for interpreter in ready.values():
        interpreter.allocate_tensors()
        interpreter.invoke()
    found: dict[str, list[float]] = {name: [] for name in files}
    end = time.perf_counter() + TIMED_S
    while time.perf_counter() < end:
        for name, interpreter in ready.items():
            start = time.perf_counter()
            interpreter.invoke()
            found[name].append(time.perf_counter() - start)
    return found


def _time(seconds: list[float] | None) -> str:
    if seconds is None:
        return ""
    low, middle, high = statistics.quantiles(seconds, n=4)
    return f"{1e6 * middle:.0f} ({1e6 * low:.0f} to {1e6 * high:.0f})"


def _ratio(times: dict[str, list[float]], name: str) -> str:
    if name not in times:
        return ""
    return f"{statistics.median(times[name]) / statistics.median(times['float']):.2f}"


SCRIPT = """
import re, sys
from pathlib import Path
from edgecut.frontends import data
from edgecut.ir.program import Program
from edgecut.passes.quantize import integers
program = Program.load(Path(sys.argv[1]))
samples = data.load(Path(sys.argv[2]), program.inputs)
# Not of resource.getrusage, which begins with the peak of the process that started this one.
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
first = data.load(Path(sys.argv[2]), program.inputs, 1)
integers.calibrated(program.copy(), first)
before = peak()
integers.calibrated(program, samples)
print(f"{len(samples)} {before:.0f} {peak():.0f}")
"""


def _memory() -> None:
    """Calibration on 1,000 images of 224x224: peak memory of its process."""
    from edgecut.passes import recipes

    with tempfile.TemporaryDirectory() as name:
        os.environ["EDGECUT_CACHE"] = str(Path(name) / "store")
        model, path = Path(name) / "model.onnx", Path(name) / "images.npy"
        source = recipes.Source(ZOO / "models" / "mobilenetv2_imagenet.onnx")
        pipeline.run(source.front(), Program.empty(), Context(), use_cache=False).save(model)
        stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(1000, 3, 224, 224))
        rng = np.random.default_rng(0)
        for row in stored:
            row[:] = rng.standard_normal(row.shape, np.float32)
        stored.flush()
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, model, path], stdout=subprocess.PIPE, text=True, check=True
        )
        count, before, after = done.stdout.split()
    seconds = time.perf_counter() - start
    print(
        f"Calibration of the ImageNet net on {count} images of 224x224 (mse) in {seconds:.0f} s: peak memory"
    )
    print(f"of the process {after} MB; with a single image {before} MB.")


if __name__ == "__main__":
    main()
