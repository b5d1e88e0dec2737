"""The cloud models of one or more builds; each is loaded when it is warmed or first run."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from edgecut.ir import manifest, sessions
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.manifest import Manifest, Tensor
from edgecut.runtime import artifact, batching, signature
from edgecut.runtime.boundary import Codec, is_stream
from edgecut.runtime.codec import WireError
from edgecut.runtime.stream import StreamError

VERSION = "1"


@dataclass
class ServedModel:
    """One cloud model.

    Attributes:
        name: As in the protocol.
        inputs: What it takes; a tensor without dimensions is sent as one element.
        outputs: What it gives.
        hash: Of its files, by which device and server see whether they belong together.
        codecs: For the inputs that may come as coded streams.
        error: Why it cannot be used; empty where it can.
    """

    name: str
    root: Path
    manifest: Manifest
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    hash: str
    threads: int
    max_batch: int = 1
    error: str = ""
    codecs: Mapping[str, Codec] = field(default_factory=dict)
    _session: Any = None
    _batched: Any = None
    _batch_tried: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> None:
        """Check the files' hashes and load the model, unless that has been done.

        Raises:
            ModelError: A file differs from the manifest, or ONNX Runtime does not load it.
        """
        with self._lock:
            if self._session is None:
                artifact.verify(self.manifest, self.root, artifact.cloud_files(self.manifest, self.name))
                self._session = _session(self._path, self.threads)

    def warm(self) -> None:
        """Load the model and run it once, so that no device waits for that; a failure is kept in `error`."""
        try:
            self.run([{t.name: np.zeros(t.shape, t.dtype) for t in self.inputs}])
            self.error = ""
        except ModelError as error:
            self.error = str(error)

    def restored(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs with those that came as coded streams decoded.

        Raises:
            WireError: A stream is damaged, or was coded with tables of another build.
        """
        found = dict(tensors)
        for name in tensors:
            if name in self.codecs and is_stream(tensors[name]):
                try:
                    found[name] = self.codecs[name].decode(tensors[name])
                except StreamError as error:
                    raise WireError(f"{name!r} {error}") from error
        return found

    def run(self, samples: Sequence[Mapping[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        """Run the model on some samples, at once where it can; they have the shapes and types of `inputs`.

        Where the batch is dynamic, each may hold several.

        Raises:
            ModelError: ONNX Runtime fails on these values, or `load` does.
        """
        self.load()
        sizes = [self.size(sample) for sample in samples]
        shaped = self.manifest.sized
        feeds = [
            {t.name: sample[t.name].reshape(shaped(t.shape, size)) for t in self.inputs}
            for sample, size in zip(samples, sizes)
        ]
        if len(feeds) == 1 or not self._can_batch():
            return [self._run(self._session, feed) for feed in feeds]
        return batching.split(self._run(self._batched, batching.join(feeds)), sizes)

    def size(self, inputs: Mapping[str, np.ndarray]) -> int:
        """How many samples some inputs hold."""
        return max((self.manifest.samples(array.shape) for array in inputs.values()), default=1)

    @property
    def _path(self) -> Path:
        return self.root / "cloud" / self.name / VERSION / "model.onnx"

    def _can_batch(self) -> bool:
        """Whether there is a batched form; it is made when it is first wanted."""
        with self._lock:
            if self.manifest.dynamic_batch:
                self._batched = self._session
            elif not self._batch_tried:
                self._batch_tried = True
                options = sessions.options(self.threads)
                self._batched = batching.batched_session(self._path, self._session, self.inputs, options)
                self.max_batch = self.max_batch if self._batched else 1
            return self._batched is not None

    def _run(self, session: Any, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [t.name for t in self.outputs]
        try:
            return dict(zip(names, session.run(names, feed)))
        except Exception as error:  # its own classes derive from Exception and RuntimeError, by kind
            raise ModelError(f"ONNX Runtime cannot run it: {error}", where=self.name) from error


class Repository:
    """All models that a server offers, by name.

    Args:
        builds: Build folders, or their manifests.
        threads: CPU threads of each model.
        max_batch: Requests that a model may be run on at once.
        keys: File of public keys, by one of which each manifest must be signed.

    Raises:
        ModelError: A manifest is invalid or not signed.
        UsageError: No build has a cloud half, or two have a model of the same name.
    """

    def __init__(
        self, builds: Iterable[Path], *, threads: int = 1, max_batch: int = 1, keys: Optional[Path] = None
    ) -> None:
        self.models: dict[str, ServedModel] = {}
        for build in builds:
            for model in _models(build, threads, max_batch, keys):
                if model.name in self.models:
                    raise UsageError(f"another build has a model {model.name!r} too", where=str(build))
                self.models[model.name] = model
        if not self.models:
            raise UsageError("no build has a cloud half: there is nothing to serve")


def _models(build: Path, threads: int, max_batch: int, keys: Optional[Path]) -> list[ServedModel]:
    path = build / manifest.FILE_NAME if build.is_dir() else build
    found = signature.read_manifest(path, keys)
    models = []
    for cut in found.cuts:
        if cut.cloud_model is None:
            continue
        inputs = tuple(Tensor(s.name, s.dtype, s.shape) for s in cut.sends)
        outputs = tuple(t for t in found.outputs if t.name not in cut.edge_outputs)
        key = artifact.cloud_hash(found, cut.cloud_model)
        name, root = cut.cloud_model, path.parent
        codecs = {s.name: Codec(s) for s in cut.sends if s.coding is not None}
        models.append(ServedModel(name, root, found, inputs, outputs, key, threads, max_batch, codecs=codecs))
    return models


def _session(path: Path, threads: int) -> Any:
    import onnxruntime as ort

    try:
        return ort.InferenceSession(str(path), sessions.options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes derive from Exception and RuntimeError, by kind
        raise ModelError(f"ONNX Runtime does not load it: {error}", where=str(path)) from error
