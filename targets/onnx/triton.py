"""``config.pbtxt`` of a model for Triton's ONNX Runtime backend.

Triton's own batching is off (``max_batch_size: 0``): the dimensions given are the whole shape, the first of
them -1 where it is open.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import onnx_ir as oir

from edgecut.ir.errors import ModelError

_TYPES = {
    "BOOL": "TYPE_BOOL", "UINT8": "TYPE_UINT8", "UINT16": "TYPE_UINT16", "UINT32": "TYPE_UINT32",
    "UINT64": "TYPE_UINT64", "INT8": "TYPE_INT8", "INT16": "TYPE_INT16", "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64", "FLOAT16": "TYPE_FP16", "FLOAT": "TYPE_FP32", "DOUBLE": "TYPE_FP64",
}  # fmt: skip


def config(name: str, inputs: Iterable[oir.Value], outputs: Iterable[oir.Value]) -> str:
    """Text of the configuration.

    Raises:
        ModelError: A tensor has a type that Triton cannot pass.
    """
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', "max_batch_size: 0"]
    for field, values in (("input", inputs), ("output", outputs)):
        blocks = ",\n".join(_tensor(value) for value in values)
        lines.append(f"{field} [\n{blocks}\n]")
    return "\n".join(lines) + "\n"


def _tensor(value: oir.Value) -> str:
    kind = _TYPES.get(value.dtype.name) if value.dtype is not None else None
    if kind is None:
        what = f"has type {value.dtype.name if value.dtype else 'unknown'}, which cannot be sent"
        raise ModelError(what, where=value.name)
    dims = [d if isinstance(d, int) else -1 for d in value.shape] if value.shape is not None else [-1]
    # Triton knows no tensor without dimensions: a scalar is sent as one element and reshaped.
    reshape = "\n    reshape { shape: [ ] }" if not dims else ""
    shown = ", ".join(map(str, dims or [1]))
    name = json.dumps(value.name)
    return f"  {{\n    name: {name}\n    data_type: {kind}\n    dims: [ {shown} ]{reshape}\n  }}"
