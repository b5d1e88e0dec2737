"""What the files are and how they run: operators, agreement with ONNX Runtime, interleaved latency."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peers.convert import Converted

Array = np.ndarray[Any, Any]
Key = tuple[str, str, str]
"""Kind, network, converter."""

ROUNDS = 25
ROUND_S = 0.02
"""Seconds that each file runs within one round; then comes the next file."""
LARGEST_S = 4.0
"""And all files of one network and kind together."""


@dataclass(frozen=True)
class Measured:
    """One file."""

    bytes: int
    operators: int
    moves: tuple[int, int]
    """TRANSPOSE and RESHAPE among them."""
    error: float
    """Largest difference from ONNX Runtime on the float model, over its largest output; NaN if not known."""
    median_ms: float
    least_ms: float
    failure: str = ""


def all_of(names: Sequence[str], made: Mapping[Key, Converted], models: Path) -> dict[Key, Measured]:
    """Measure every file that was made, those of one network and kind in turn."""
    found: dict[Key, Measured] = {}
    for name in names:
        sample = _sample(models / f"{name}.npz")
        reference = _reference(models / f"{name}.onnx", sample)
        for kind in dict.fromkeys(k for k, n, _ in made if n == name):
            files = {c: Path(d.file) for (k, n, c), d in made.items() if (k, n) == (kind, name) and d.file}
            found |= {(kind, name, c): m for c, m in _interleaved(files, sample, reference).items()}
    return found


def _sample(path: Path) -> list[Array]:
    with np.load(path) as arrays:
        return [a[:1] for a in arrays.values()]


def _reference(model: Path, sample: list[Array]) -> list[Array] | None:
    if not model.exists():
        return None
    import onnxruntime as ort

    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    outputs: list[Array] = session.run(None, dict(zip(names, sample, strict=True)))
    return outputs


class _Runner:
    """A file in LiteRT on one thread, with its inputs set. Seconds are of that thread's processor time."""

    def __init__(self, path: Path, sample: list[Array]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        details = _in_order(self.interpreter.get_input_details())
        for detail, array in zip(details, sample, strict=True):
            self.interpreter.set_tensor(detail["index"], _fitted(array, detail))
        self.interpreter.invoke()

    def outputs(self) -> list[Array]:
        return [
            _real(self.interpreter.get_tensor(d["index"]), d) for d in self.interpreter.get_output_details()
        ]

    def seconds(self, count: int) -> float:
        start = time.thread_time()
        for _ in range(count):
            self.interpreter.invoke()
        return (time.thread_time() - start) / count


def _in_order(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Inputs as the model has them; those of two inputs are called ids and mask, or numbered."""
    return sorted(details, key=lambda d: d["name"]) if len(details) > 1 else details


def _fitted(array: Array, detail: dict[str, Any]) -> Array:
    """In the layout and type that the file wants."""
    shape = tuple(detail["shape"])
    if array.shape != shape and array.ndim > 2:
        moved = np.moveaxis(array, 1, -1)
        array = moved if moved.shape == shape else array.reshape(shape)
    scale, zero = detail["quantization"]
    if scale:
        info = np.iinfo(detail["dtype"])
        array = np.clip(np.rint(array / scale) + zero, info.min, info.max)
    return np.ascontiguousarray(array.astype(detail["dtype"]))


def _real(array: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    return (array.astype(np.float64) - zero) * scale if scale else array.astype(np.float64)


def _interleaved(
    files: Mapping[str, Path], sample: list[Array], reference: list[Array] | None
) -> dict[str, Measured]:
    from edgecut.targets.tflite import inspect

    runners: dict[str, _Runner] = {}
    found: dict[str, Measured] = {}
    for converter, path in files.items():
        kinds = inspect.operators(path.read_bytes())
        facts = (path.stat().st_size, sum(kinds.values()), (kinds["TRANSPOSE"], kinds["RESHAPE"]))
        try:
            runners[converter] = _Runner(path, sample)
            error = _error(runners[converter].outputs(), reference)
            found[converter] = Measured(*facts, error, 0.0, 0.0)
        except (RuntimeError, ValueError) as failure:
            found[converter] = Measured(*facts, float("nan"), 0.0, 0.0, str(failure).splitlines()[0][:120])
    for converter, times in _times(runners).items():
        facts = found[converter]
        median, least = statistics.median(times) * 1e3, min(times) * 1e3
        found[converter] = Measured(facts.bytes, facts.operators, facts.moves, facts.error, median, least)
    return found


def _times(runners: Mapping[str, _Runner]) -> dict[str, list[float]]:
    """Seconds of one inference, by file, one figure per round; the order turns from round to round."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    counts = {c: max(1, round(ROUND_S / max(r.seconds(3), 1e-6))) for c, r in runners.items()}
    times: dict[str, list[float]] = {c: [] for c in runners}
    if not runners:
        return times
    order, begun = list(runners), time.perf_counter()
    for _ in range(ROUNDS):
        for converter in order:
            times[converter].append(runners[converter].seconds(counts[converter]))
        order.append(order.pop(0))
        if time.perf_counter() - begun > LARGEST_S:
            break
    return times


def _error(made: list[Array], reference: list[Array] | None) -> float:
    if reference is None or len(made) != len(reference):
        return float("nan")
    return max(_difference(m, r) for m, r in zip(made, reference, strict=True))


def _difference(made: Array, expected: Array) -> float:
    if made.shape != expected.shape and expected.ndim > 2:
        expected = np.moveaxis(expected, 1, -1)
    if made.size != expected.size:
        return float("nan")
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(made - expected.reshape(made.shape)).max()) / scale
