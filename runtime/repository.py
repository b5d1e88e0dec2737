"""The cloud models of one or more builds, loaded when they are first asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgecut.ir import manifest
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.manifest import Manifest, Tensor
from edgecut.runtime import artifact

VERSION = "1"


@dataclass
class ServedModel:
    """One cloud model.

    Attributes:
        name: As in the protocol.
        inputs: What it takes; a tensor without dimensions is sent as one element.
        outputs: What it gives.
        hash: Of its files, by which device and server see whether they belong together.
    """

    name: str
    root: Path
    manifest: Manifest
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    hash: str
    threads: int
    _session: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> None:
        """Check the files' hashes and load the model, unless that has been done.

        Raises:
            ModelError: A file differs from the manifest, or ONNX Runtime does not load it.
        """
        with self._lock:
            if self._session is None:
                artifact.verify(self.manifest, self.root, artifact.cloud_files(self.manifest, self.name))
                self._session = _session(
                    self.root / "cloud" / self.name / VERSION / "model.onnx", self.threads
                )

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model; the inputs must have the shapes and types of `inputs`.

        Raises:
            ModelError: ONNX Runtime fails on these values, or `load` does.
        """
        self.load()
        feeds = {t.name: inputs[t.name].reshape(t.shape) for t in self.inputs}
        names = [t.name for t in self.outputs]
        try:
            found = self._session.run(names, feeds)
        except Exception as error:  # its own classes derive from Exception and RuntimeError, by kind
            raise ModelError(f"ONNX Runtime cannot run it: {error}", where=self.name) from error
        return dict(zip(names, found))


class Repository:
    """All models that a server offers, by name.

    Args:
        builds: Build folders, or their manifests.
        threads: CPU threads of each model.

    Raises:
        ModelError: A manifest is invalid.
        UsageError: No build has a cloud half, or two have a model of the same name.
    """

    def __init__(self, builds: Iterable[Path], *, threads: int = 1) -> None:
        self.models: dict[str, ServedModel] = {}
        for build in builds:
            for model in _models(build, threads):
                if model.name in self.models:
                    raise UsageError(f"another build has a model {model.name!r} too", where=str(build))
                self.models[model.name] = model
        if not self.models:
            raise UsageError("no build has a cloud half: there is nothing to serve")


def _models(build: Path, threads: int) -> list[ServedModel]:
    path = build / manifest.FILE_NAME if build.is_dir() else build
    found = manifest.read(path, verify=False)
    models = []
    for cut in found.cuts:
        if cut.cloud_model is None:
            continue
        inputs = tuple(Tensor(s.name, s.dtype, s.shape) for s in cut.sends)
        outputs = tuple(t for t in found.outputs if t.name not in cut.edge_outputs)
        key = artifact.cloud_hash(found, cut.cloud_model)
        models.append(ServedModel(cut.cloud_model, path.parent, found, inputs, outputs, key, threads))
    return models


def _session(path: Path, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes derive from Exception and RuntimeError, by kind
        raise ModelError(f"ONNX Runtime does not load it: {error}", where=str(path)) from error
