"""Rewrites a graph input that is an image: uint8 NHWC in, normalized by the fewest nodes that do it."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program, static_shape
from edgecut.passes.simplify import rewriting

CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Normalization:
    """``(pixel - mean) / std`` per channel, in pixel units (0..255)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, mean: tuple[float, ...], std: tuple[float, ...], scale: float) -> Self:
        """That of ``(pixel * scale - mean) / std``."""
        return cls(tuple(m / scale for m in mean), tuple(s / scale for s in std))

    def equals(self, mean: tuple[float, ...], std: tuple[float, ...]) -> bool:
        """Whether another mean and std are the same, one for all channels meaning as many as needed."""
        count = max(len(mean), len(std), len(self.mean), len(self.std))
        pairs = ((self.mean, mean), (self.std, std))
        return all(math.isclose(a[i % len(a)], b[i % len(b)]) for a, b in pairs for i in range(count))


def find(program: Program, name: str) -> oir.Value:
    """The graph input of this name.

    Raises:
        UsageError: There is none.
    """
    inputs = {v.name: v for v in program.graph.inputs}
    if name not in inputs:
        hint = f"the model has: {', '.join(str(n) for n in inputs)}"
        raise UsageError(f"the model has no input {name!r}", where="image", hint=hint)
    return inputs[name]


def rewrite(program: Program, value: oir.Value, normalization: Normalization) -> oir.Value:
    """Put a uint8 NHWC input in the place of ``value``, under its name; gives the new input.

    Nodes: Cast, Mul, Add, Transpose, each only where it does something.

    Raises:
        ModelError: The input is no image of floats or pixels, or has another count of channels.
        UsageError: A normalization is given for a model that takes pixels and so has its own.
    """
    name, shape, dtype = value.name or "", static_shape(value) or (), value.dtype or oir.DataType.FLOAT
    raw = dtype == oir.DataType.UINT8
    if not raw and not dtype.is_floating_point():
        raise ModelError(f"is {dtype.name.lower()}, which is no type of an image", where=name)
    if raw and not normalization.equals((0.0,), (1.0,)):
        raise UsageError(
            f"{name!r} takes pixels already: mean, std and scale would do it twice", where="image"
        )
    count = max(len(normalization.mean), len(normalization.std))
    channels_first = _channels_first(name, shape, count)
    nhwc = (shape[0], *shape[2:], shape[1]) if channels_first else shape
    pixels = oir.Value(name=name, shape=oir.Shape(nhwc), type=oir.TensorType(oir.DataType.UINT8))
    chain = _Chain(program, name, dtype)
    value.name = chain.names.free(f"{name}_normalized")
    current = pixels if raw else chain.add("Cast", [pixels], nhwc, {"to": int(dtype)})
    factor, offset = _affine(normalization, nhwc[3])
    if np.any(factor != 1):
        current = chain.add("Mul", [current, chain.constant("factor", factor)], nhwc)
    if np.any(offset != 0):
        current = chain.add("Add", [current, chain.constant("offset", offset)], nhwc)
    if channels_first:
        current = chain.add("Transpose", [current], shape, {"perm": [0, 3, 1, 2]})
    oir.convenience.replace_all_uses_with(value, current, replace_graph_outputs=True)
    if current is not pixels:
        current.name = value.name
    graph = program.graph
    graph.inputs[list(graph.inputs).index(value)] = pixels
    return pixels


def _channels_first(name: str, shape: tuple[int, ...], count: int) -> bool:
    """Whether an image input is NCHW; where both could be, as ONNX models usually are."""
    wanted = CHANNELS if count == 1 else (count,)
    if len(shape) != 4 or not any(shape[axis] in wanted for axis in (1, 3)):
        channels = f"{count} channels" if count > 1 else "1, 3 or 4 channels"
        what = f"has shape {list(shape)}, which is no image [N,C,H,W] or [N,H,W,C] of {channels}"
        raise ModelError(what, where=name, hint="see --image, --mean and --std")
    return shape[1] in wanted


def _affine(normalization: Normalization, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factor and offset per channel of ``pixel * factor + offset``."""
    for values in (normalization.mean, normalization.std):
        if len(values) not in (1, channels):
            raise UsageError(f"{len(values)} values for {channels} channels", where="mean, std")
    mean = np.broadcast_to(np.array(normalization.mean), channels)
    factor = 1.0 / np.broadcast_to(np.array(normalization.std), channels)
    return factor, -mean * factor


class _Chain:
    """Nodes one after the other, at the front of the graph."""

    def __init__(self, program: Program, name: str, dtype: oir.DataType) -> None:
        self.program, self.name, self.dtype = program, name, dtype
        self.names = rewriting.Names(program)
        self.first = next(program.nodes, None)

    def add(
        self,
        op: str,
        inputs: list[oir.Value],
        shape: tuple[int, ...],
        attributes: dict[str, int | list[int]] | None = None,
    ) -> oir.Value:
        name = self.names.free(f"{self.name}_{op.lower()}")
        made = oir.node(op, inputs, attributes or {}, name=name)
        output = made.outputs[0]
        output.name, output.shape, output.type = name, oir.Shape(shape), oir.TensorType(self.dtype)
        if self.first is None:
            self.program.graph.append(made)
        else:
            self.program.graph.insert_before(self.first, made)
        return output

    def constant(self, what: str, values: NDArray[np.float64]) -> oir.Value:
        one = values[:1] if np.all(values == values[0]) else values
        return self.names.initializer(f"{self.name}_{what}", one.astype(self.dtype.numpy()))
