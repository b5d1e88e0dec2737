"""Cast and CastLike: another type for the same numbers."""

from __future__ import annotations

import numpy as np

from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import BOOL, FLOAT, INT32, INT64, Call, Unsupported, is_stored


def cast(call: Call) -> Tensor:
    """Change the type."""
    x, dtype = call.input(0), _target(call)
    call.need(is_stored(x.dtype) and is_stored(dtype), f"from {x.dtype} to {dtype}")
    if dtype == x.dtype:
        return x
    if dtype == BOOL:
        x = call.cast(x, FLOAT) if x.dtype == np.float16 else x
        return call.widened(
            [x],
            (FLOAT, INT32, INT64),
            lambda t: call.binary("NOT_EQUAL", t[0], call.scalar(0, t[0].dtype), BOOL),
        )
    return call.emit("CAST", [x], x.shape, dtype)


def _target(call: Call) -> np.dtype[np.generic]:
    if call.kind == "CastLike":
        return call.input(1).dtype
    import onnx_ir as oir

    try:
        return np.dtype(oir.DataType(call.attribute("to")).numpy())
    except TypeError as error:
        raise Unsupported("to a type without counterpart") from error


LOWERINGS = {"Cast": cast, "CastLike": cast}
