"""Every converter as the command that a user would type, with the file that it leaves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peers import channels_last

HERE = Path(__file__).resolve().parent
KINDS = ("float", "int8")


@dataclass(frozen=True)
class Job:
    """One network to convert, for one converter."""

    name: str
    models: Path
    """Folder with ``NAME.onnx`` or ``NAME.keras``, and samples ``NAME.npz``."""
    out: Path
    kind: str
    venv: Path

    @property
    def keras(self) -> bool:
        """Whether it is a Keras model."""
        return not (self.models / f"{self.name}.onnx").exists()

    @property
    def model(self) -> Path:
        """The file to convert."""
        return self.models / f"{self.name}{'.keras' if self.keras else '.onnx'}"

    @property
    def samples(self) -> Path:
        """Calibration data."""
        return self.models / f"{self.name}.npz"

    @property
    def python(self) -> str:
        """The interpreter of the converter's own environment."""
        return str(self.venv / "bin" / "python")


@dataclass(frozen=True)
class Converter:
    """How a converter is called; None where it does not read that kind of model."""

    name: str
    command: Callable[[Job], list[str] | None]
    made: Callable[[Job], list[Path]]
    """Where its file may be, the preferred one first."""


def _onnx2tf(job: Job) -> list[str] | None:
    if job.keras:
        return None
    _sample_images(job)
    command = [str(job.venv / "bin" / "onnx2tf"), "-i", str(job.model), "-o", str(job.out), "-n"]
    if job.kind == "float":
        return command
    return [*command, "-oiqt", "-iqd", "float32", "-oqd", "float32", *_calibration(job)]


def _sample_images(job: Job) -> None:
    """The images that onnx2tf else loads from the network, to compare its own steps with: any will do."""
    import numpy as np

    images = np.random.default_rng(0).uniform(size=(20, 128, 128, 3)).astype(np.float32)
    np.save(job.out / "calibration_image_sample_data_20x128x128x3_float32.npy", images)


def _calibration(job: Job) -> list[str]:
    """Each input as onnx2tf wants it: a file of its own, images channels last, no normalization."""
    import numpy as np

    words = []
    with np.load(job.samples) as arrays:
        for name, array in arrays.items():
            last = np.moveaxis(array, 1, -1) if array.ndim > 3 or job.name == "ecg1d" else array
            path = job.out / f"{name}.npy"
            np.save(path, last)
            words += ["-cind", name, str(path), "[0.0]", "[1.0]"]
    return words


def _onnx2tf_file(job: Job) -> list[Path]:
    endings = ("float32",) if job.kind == "float" else ("full_integer_quant", "integer_quant")
    return [job.out / f"{job.name}_{ending}.tflite" for ending in endings]


def _driver(script: str) -> Callable[[Job], list[str] | None]:
    def command(job: Job) -> list[str] | None:
        if job.keras != (script == "keras_driver.py"):
            return None
        return [job.python, str(HERE / script), job.name, str(job.models), str(job.out), job.kind]

    return command


def _edgecut(job: Job) -> list[str]:
    command = [
        sys.executable,
        "-m",
        "edgecut",
        "convert",
        str(job.model),
        "-o",
        str(job.out / "model.tflite"),
    ]
    # The user names the target, here this machine: what is not faster on integers there stays in float.
    return [*command, "--calibration", str(job.samples), "--edge", "local"] if job.kind == "int8" else command


def _own_file(job: Job) -> list[Path]:
    return [job.out / "model.tflite"]


def _edgecut_last(job: Job) -> list[str] | None:
    """The same of a model whose images come and go channels last, as onnx2tf's do."""
    changed = None if job.keras else channels_last.changed(job.model, job.out / f"{job.name}.onnx")
    if changed is None or job.kind != "float":
        return None
    return [*_edgecut(job)[:4], str(changed), "-o", str(job.out / "model.tflite")]


EDGECUT = Converter("edgecut", _edgecut, _own_file)
EDGECUT_LAST = Converter("edgecut, NHWC", _edgecut_last, _own_file)
PEERS = (
    Converter("onnx2tf2", _onnx2tf, _onnx2tf_file),
    Converter("onnx2tf1", _onnx2tf, _onnx2tf_file),
    Converter("litert-torch", _driver("torch_driver.py"), _own_file),
    Converter("tensorflow", _driver("keras_driver.py"), _own_file),
)
