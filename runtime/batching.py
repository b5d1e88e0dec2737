"""Makes of a model for one sample a model for several, where that provably computes the same.

Emitted models have static shapes. Their first axis is opened (`edgecut.ir.batch`), and whether the result is
right is not argued but tried: it has to agree with single runs on random samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from edgecut.ir import batch
from edgecut.ir.manifest import Tensor

_TRIED = 3
_TOLERANCE = 1e-5  # float32 kernels add in another order for another batch; more is another function

Tensors = Mapping[str, np.ndarray]


def batched_session(path: Path, single: Any, inputs: Sequence[Tensor], options: Any) -> Optional[Any]:
    """A session that takes any number of samples along the first axis, or None where there is none.

    Args:
        path: The model file.
        single: Session of the model as it is.
        inputs: What the model takes.
        options: Session options for the new one.
    """
    import onnxruntime as ort

    if not all(t.shape[:1] == (1,) for t in inputs):
        return None
    data = _with_symbolic_axis(path)
    if data is None:
        return None
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return session if agrees(session, single, inputs) else None
    except Exception:  # any failure, at load or in a run, means that this model has no batched form
        return None


def join(samples: Sequence[Tensors]) -> dict[str, np.ndarray]:
    """Stack samples along their first axis."""
    return {name: np.concatenate([s[name] for s in samples]) for name in samples[0]}


def split(outputs: Tensors, sizes: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Take a batch of answers apart again, into parts of so many samples each."""
    ends = np.cumsum(sizes)
    return [{n: a[end - size : end] for n, a in outputs.items()} for size, end in zip(sizes, ends)]


def _with_symbolic_axis(path: Path) -> Optional[bytes]:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    if not batch.open_first_axis(model):
        return None
    found: bytes = model.SerializeToString()
    return found


def mixes_nothing(session: Any) -> bool:
    """Whether a session of an open batch gives for each of several samples what it gives for it alone."""
    kinds = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
    inputs = []
    for given in session.get_inputs():
        dtype = kinds.get(given.type, given.type[len("tensor(") : -1])
        inputs.append(Tensor(given.name, dtype, (1, *given.shape[1:])))
    try:
        return agrees(session, session, inputs)
    except Exception:  # ONNX Runtime's own kinds: it cannot run several samples at once
        return False


def agrees(batched: Any, single: Any, inputs: Sequence[Tensor]) -> bool:
    """Whether a session gives for several random samples at once what another gives for each alone."""
    random = np.random.default_rng(0)
    samples = [{t.name: _sample(random, t) for t in inputs} for _ in range(_TRIED)]
    names = [o.name for o in single.get_outputs()]
    together = split(dict(zip(names, batched.run(names, join(samples)))), [1] * _TRIED)
    alone = [dict(zip(names, single.run(names, sample))) for sample in samples]
    return all(_same(a[n], b[n]) for a, b in zip(together, alone) for n in names)


def _sample(random: np.random.Generator, tensor: Tensor) -> np.ndarray:
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return random.normal(size=tensor.shape).astype(dtype)
    if dtype.kind == "b" or dtype.itemsize > 2:  # wide integers are indices, which have to exist
        return random.integers(0, 2, tensor.shape).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = max(int(limits.min), -128), min(int(limits.max), 255)
    return random.integers(low, high, tensor.shape, endpoint=True).astype(dtype)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    scale = float(np.abs(b).max(initial=0.0))
    return bool(np.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE * scale, equal_nan=True))
