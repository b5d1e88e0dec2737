"""Operators whose results are means of integers: in which parts of a step those come."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as oir

from edgecut.ir.program import static_shape
from edgecut.targets.tflite import interpolation

_MOST = 1 << 12
"""Parts beyond which float32 does not tell a half from its neighbours."""


def parts(node: oir.Node) -> int | None:
    """The least number by which every result, in steps of the input, is whole; None where not known."""
    found = {
        "GlobalAveragePool": _elements, "ReduceMean": _elements, "AveragePool": _window, "Resize": _linear,
    }[node.op_type](node)  # fmt: skip
    return found if found is not None and found <= _MOST else None


def interpolates(node: oir.Node) -> bool:
    """Whether a Resize weighs its neighbours."""
    return _text(node, "mode", "nearest") == "linear"


def keeps_scale(node: oir.Node) -> bool:
    """Whether an interpolating Resize has an integer kernel, which computes the same and keeps the scale."""
    x = node.inputs[0]
    shape = static_shape(x) if x is not None else None
    return shape is not None and len(shape) == 4 and interpolation.exact(_linear(node))


def _elements(node: oir.Node) -> int:
    return math.prod(_shape(node.inputs[0])) // math.prod(_shape(node.outputs[0]))


def _window(node: oir.Node) -> int:
    kernel = tuple(node.attributes["kernel_shape"].as_ints())
    padded = any(_ints(node, "pads")) or _text(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    padded |= _int(node, "ceil_mode") != 0
    if padded and not _int(node, "count_include_pad"):
        # Windows at the border have fewer elements.
        return math.prod(math.lcm(*range(1, k + 1)) for k in kernel)
    return math.prod(kernel)


def _linear(node: oir.Node) -> int | None:
    size, new = _shape(node.inputs[0]), _shape(node.outputs[0])
    scales = node.inputs[2] if len(node.inputs) > 2 else None
    given = None if scales is None or scales.const_value is None else scales.const_value.numpy()
    if _int(node, "antialias") or _text(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    if given is not None and given.size and not _are_ratios(node, given, size, new):
        return None
    return interpolation.parts(size, new, _text(node, "coordinate_transformation_mode", "half_pixel"))


def _are_ratios(node: oir.Node, given: np.ndarray, size: Sequence[int], new: Sequence[int]) -> bool:
    """Whether the scales given are those of the sizes, and not rounded to them."""
    axes = [a % len(size) for a in _ints(node, "axes")] or range(len(size))
    return all(abs(s * size[a] - new[a]) < 1e-6 * new[a] for a, s in zip(axes, given.tolist(), strict=True))


def _shape(value: oir.Value | None) -> tuple[int, ...]:
    shape = static_shape(value) if value is not None else None
    return tuple(shape or ())


def _int(node: oir.Node, name: str) -> int:
    return node.attributes[name].as_int() if name in node.attributes else 0


def _ints(node: oir.Node, name: str) -> tuple[int, ...]:
    return tuple(node.attributes[name].as_ints()) if name in node.attributes else ()


def _text(node: oir.Node, name: str, default: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else default
