"""Makes of a model for one sample a model for several, where that provably computes the same.

Emitted models have static shapes. ONNX operators mostly work along the first axis whatever its length, so
it is made symbolic, and constant Reshape targets that begin with 1 keep their input's first axis. Whether
the result is right is not argued but tried: it has to agree with single runs on random samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

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
        return session if _agrees(session, single, inputs) else None
    except Exception:  # any failure, at load or in a run, means that this model has no batched form
        return None


def join(samples: Sequence[Tensors]) -> dict[str, np.ndarray]:
    """Stack samples along their first axis."""
    return {name: np.concatenate([s[name] for s in samples]) for name in samples[0]}


def split(outputs: Tensors, count: int) -> list[dict[str, np.ndarray]]:
    """Take a batch of answers apart again."""
    return [{name: array[i : i + 1] for name, array in outputs.items()} for i in range(count)]


def _with_symbolic_axis(path: Path) -> Optional[bytes]:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if not dims or dims[0].dim_value != 1:
            return None
        dims[0].dim_param = "batch"
    del graph.value_info[:]
    targets = {n.input[1] for n in graph.node if n.op_type == "Reshape" and not _keeps_zero(n)}
    for constant in graph.initializer:
        if constant.name in targets and not constant.external_data:
            shape = numpy_helper.to_array(constant).copy()
            shape[:1] = np.where(shape[:1] == 1, 0, shape[:1])
            constant.CopyFrom(numpy_helper.from_array(shape, constant.name))
    found: bytes = model.SerializeToString()
    return found


def _keeps_zero(node: Any) -> bool:
    return any(a.name == "allowzero" and a.i for a in node.attribute)


def _agrees(batched: Any, single: Any, inputs: Sequence[Tensor]) -> bool:
    random = np.random.default_rng(0)
    samples = [{t.name: _sample(random, t) for t in inputs} for _ in range(_TRIED)]
    names = [o.name for o in single.get_outputs()]
    together = split(dict(zip(names, batched.run(names, join(samples)))), _TRIED)
    alone = [dict(zip(names, single.run(names, sample))) for sample in samples]
    return all(_same(a[n], b[n]) for a, b in zip(together, alone) for n in names)


def _sample(random: np.random.Generator, tensor: Tensor) -> np.ndarray:
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return random.normal(size=tensor.shape).astype(dtype)
    if dtype.kind == "b":
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
