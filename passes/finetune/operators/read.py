"""What nodes say about how they compute, as torch wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from edgecut.ir.program import static_shape

Tensor = Any
Operator = Callable[[oir.Node, Sequence[Tensor]], Tensor]


class Unsupported(Exception):  # noqa: N818 - says why, is caught by the module
    """A form of an operator that is not written here."""


def torch() -> Any:
    """torch, imported late: it is an extra."""
    import torch

    return torch


def is_vectorized(tensor: Tensor) -> bool:
    """Whether it stands for one sample of a batch."""
    return bool(torch()._C._functorch.is_batchedtensor(tensor))


def shape(value: oir.Value | None) -> tuple[int, ...]:
    """The sizes of a value, which have to be known."""
    found = None if value is None else static_shape(value)
    if found is None:
        raise Unsupported("a shape is not known")
    return found


def window(node: oir.Node, rank: int) -> tuple[list[int], list[int], list[int]]:
    """Pads (all begins, then all ends), strides and dilations."""
    if "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string() != "NOTSET":
        raise Unsupported("auto_pad; import the model first")
    found = (("pads", 0, 2 * rank), ("strides", 1, rank), ("dilations", 1, rank))
    pads, strides, dilations = (integers(node, name, [default] * size) for name, default, size in found)
    return pads, strides, dilations


def pool(node: oir.Node) -> tuple[list[int], list[int], list[int], list[int]]:
    """The kernel, and its window."""
    kernel = integers(node, "kernel_shape", [])
    if integer(node, "ceil_mode", 0):
        raise Unsupported("ceil_mode")
    return (kernel, *window(node, len(kernel)))


def torch_pads(pads: Sequence[int], rank: int) -> list[int]:
    """From all begins and all ends to pairs, last axis first."""
    return [p for axis in reversed(range(rank)) for p in (pads[axis], pads[rank + axis])]


def channels(vector: Tensor, rank: int) -> Tensor:
    """A vector along the second of so many axes."""
    return vector.reshape(1, -1, *[1] * (rank - 2))


def told(node: oir.Node, name: str, index: int) -> list[int] | None:
    """Integers from an attribute (older operator sets) or a constant input."""
    if name in node.attributes:
        return list(node.attributes[name].as_ints())
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None:
        return None
    if value.const_value is None:
        raise Unsupported(f"its {name} are computed")
    return [int(i) for i in np.atleast_1d(value.const_value.numpy())]


def integer(node: oir.Node, name: str, default: int) -> int:
    """An attribute."""
    return node.attributes[name].as_int() if name in node.attributes else default


def integers(node: oir.Node, name: str, default: list[int]) -> list[int]:
    """An attribute that is a list."""
    return list(node.attributes[name].as_ints()) if name in node.attributes else default


def number(node: oir.Node, name: str, default: float) -> float:
    """An attribute that is a fraction."""
    return node.attributes[name].as_float() if name in node.attributes else default
