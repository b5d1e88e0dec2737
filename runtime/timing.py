"""Times the edge half of cuts on the machine that this runs on."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from edgecut.ir import manifest
from edgecut.ir.manifest import CutRecord, Manifest
from edgecut.runtime import artifact, signature
from edgecut.runtime.litert import EdgeModel


@dataclass(frozen=True)
class EdgeTime:
    """Seconds of the edge half of one cut."""

    cut: str
    runs: int
    min_s: float
    median_s: float


def profile(path: Path, *, runs: int = 30, threads: int = 1, keys: Optional[Path] = None) -> list[EdgeTime]:
    """Time every cut that the edge has work in, on random inputs of the right shapes.

    Args:
        path: The manifest, or the folder it stands in.
        runs: Timed runs of each cut, after a tenth as many to warm up.
        threads: CPU threads of the edge kernels.
        keys: File of public keys, by one of which the manifest must be signed.

    Raises:
        ModelError: The manifest is invalid or not signed, or the edge model is not the one it names.
    """
    path = path / manifest.FILE_NAME if path.is_dir() else path
    described = signature.read_manifest(path, keys)
    if described.edge_model is None:
        return []
    artifact.verify(described, path.parent, [described.edge_model])
    model = EdgeModel(path.parent / described.edge_model, threads=threads)
    inputs = random_inputs(described)
    return [_time(model, cut, inputs, runs) for cut in described.cuts if cut.signature is not None]


def _time(model: EdgeModel, cut: CutRecord, inputs: dict[str, np.ndarray], runs: int) -> EdgeTime:
    signature = cut.signature or ""
    feeds = {name: inputs[name] for name in model.input_names(signature)}
    for _ in range(max(runs // 10, 1)):
        model.run(signature, feeds)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        model.run(signature, feeds)
        seconds.append(time.perf_counter() - start)
    return EdgeTime(cut.name, runs, min(seconds), statistics.median(seconds))


def random_inputs(described: Manifest) -> dict[str, np.ndarray]:
    """Inputs of the manifest's shapes and types, always the same."""
    random = np.random.default_rng(0)
    made = {}
    for tensor in described.inputs:
        # Small values are valid indices and valid numbers of every type.
        made[tensor.name] = random.integers(0, 2, tensor.shape).astype(tensor.dtype)
    return made
