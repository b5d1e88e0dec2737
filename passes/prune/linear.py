"""Nodes with weights as matrix products: rows of features times a matrix, per group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.passes.numerics import Array
from edgecut.passes.prune.rules import integer

Floats = NDArray[np.float64]
Single = NDArray[np.float32]


@dataclass
class Layer:
    """A convolution or matrix product, with the bias that is added to it.

    Features are [groups, rows, features + 1]; the last one is the constant 1 of the bias.
    """

    node: oir.Node
    weight: Floats
    """[groups, features + 1, results per group]."""
    result: oir.Value
    """What it computes, bias included."""

    @classmethod
    def of(cls, node: oir.Node) -> Layer:
        """The layer of a node for which `is_linear` holds."""
        array = _numbers(node.inputs[1])
        if node.op_type == "Conv":
            groups = integer(node, "group", 1)
            matrix = array.reshape(groups, array.shape[0] // groups, -1).transpose(0, 2, 1)
        else:
            matrix = (array.T if integer(node, "transB", 0) else array)[None]
        row = np.zeros((matrix.shape[0], 1, matrix.shape[2]))
        holder, index = _bias(node)
        if len(holder.inputs) > index and holder.inputs[index] is not None:
            row[:] = np.broadcast_to(_numbers(holder.inputs[index]), (row.size,)).reshape(row.shape)
        return cls(node, np.concatenate([matrix, row], axis=1), holder.outputs[0])

    @property
    def has_bias(self) -> bool:
        """Whether a bias can be stored: a MatMul without an addition after it has no room for one."""
        return self.node.op_type != "MatMul" or self.result is not self.node.outputs[0]

    @property
    def bias(self) -> oir.Value | None:
        """The vector that is added to the results, if there is one."""
        holder, index = _bias(self.node)
        value = holder.inputs[index] if len(holder.inputs) > index else None
        return value if shape(value) == (self.weight.shape[0] * self.weight.shape[2],) else None

    def results(self, array: Array) -> Single:
        """The results as [rows, channels]."""
        moved = np.moveaxis(array, 1, -1) if self.node.op_type == "Conv" else array
        return np.asarray(moved.reshape(-1, moved.shape[-1]), np.float32)

    def features(self, array: Array, rows: NDArray[np.int64]) -> Single:
        """What the node reads for some of its results."""
        if self.node.op_type == "Conv":
            found = patches(self.node, array, rows)
        else:
            found = array.reshape(-1, array.shape[-1])[rows][None].astype(np.float32)
        one = np.full((*found.shape[:2], 1), self.has_bias, np.float32)
        return np.concatenate([found, one], axis=2)

    def grouped(self, results: Single) -> Single:
        """[groups, rows, results per group]."""
        return results.reshape(len(results), len(self.weight), -1).transpose(1, 0, 2)

    def correct(self, change: Floats) -> None:
        """Add to the weights, and store them in the node."""
        matrix = self.weight + change
        kernel, bias = matrix[:, :-1], matrix[:, -1].reshape(-1)
        if self.node.op_type == "Conv":
            array = kernel.transpose(0, 2, 1).reshape(shape(self.node.inputs[1]))
        else:
            array = kernel[0].T if integer(self.node, "transB", 0) else kernel[0]
        _store(self.node, 1, array, f"{self.node.name}_weight")
        if self.has_bias:
            holder, index = _bias(self.node)
            _store(holder, index, bias, f"{self.node.name}_bias")


def is_linear(node: oir.Node) -> bool:
    """Whether the weights are constants of this node alone, so that they can be changed."""
    if node.op_type not in ("Conv", "Gemm", "MatMul") or any(v is None for v in node.inputs[:2]):
        return False
    constants = [v for v in node.inputs[1:] if v is not None]
    if any(v.const_value is None or len(v.uses()) > 1 for v in constants):
        return False
    if node.op_type == "Conv":
        return "auto_pad" not in node.attributes or node.attributes["auto_pad"].as_string() == "NOTSET"
    plain = all(k not in node.attributes or node.attributes[k].as_float() == 1 for k in ("alpha", "beta"))
    return plain and len(shape(node.inputs[1])) == 2 and not integer(node, "transA", 0)


def feature_count(node: oir.Node) -> int:
    """What a result is computed from: input channels of a group times taps."""
    size = shape(node.inputs[1])
    if node.op_type == "Conv":
        return int(np.prod(size[1:]))
    return size[1] if integer(node, "transB", 0) else size[0]


def patches(node: oir.Node, array: Array, rows: NDArray[np.int64]) -> Single:
    """Receptive fields of a convolution as [groups, rows, channels per group * taps]."""
    size = shape(node.inputs[1])
    taps, rank = size[2:], len(size) - 2
    window = (("strides", 1, rank), ("dilations", 1, rank), ("pads", 0, 2 * rank))
    strides, dilations, pads = (_ints(node, name, [default] * count) for name, default, count in window)
    padded = np.pad(array, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    spans = [(t - 1) * d + 1 for t, d in zip(taps, dilations, strict=True)]
    sizes = [(n - s) // step + 1 for n, s, step in zip(padded.shape[2:], spans, strides, strict=True)]
    sample, *corner = np.unravel_index(rows, (len(array), *sizes))
    places = [
        (c * step)[:, None] + np.arange(t) * d
        for c, step, t, d in zip(corner, strides, taps, dilations, strict=True)
    ]
    grid = [
        p.reshape(len(rows), *(len(p[0]) if i == j else 1 for j in range(rank))) for i, p in enumerate(places)
    ]
    first = sample.reshape(-1, *[1] * rank)
    # [rows, taps..., channels] -> [groups, rows, channels per group * taps]
    found = np.moveaxis(padded, 1, -1)[(first, *grid)].astype(np.float32)
    found = np.moveaxis(found, -1, 1).reshape(len(rows), integer(node, "group", 1), -1)
    return np.asarray(found.transpose(1, 0, 2))


def results(node: oir.Node) -> int:
    """Rows of results of one sample."""
    size = shape(node.outputs[0])
    return int(np.prod(size)) // (size[1] if node.op_type == "Conv" else size[-1])


def shape(value: oir.Value | None) -> tuple[int, ...]:
    """The known sizes of a value."""
    if value is None or value.shape is None:
        return ()
    return tuple(d for d in value.shape if isinstance(d, int))


def choose(rows: int, limit: int, seed: int) -> NDArray[np.int64]:
    """At most so many rows, drawn at random but the same each time."""
    if rows <= limit:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


def _bias(node: oir.Node) -> tuple[oir.Node, int]:
    """The node that adds the bias, and which input of it the bias is."""
    users = [user for user, _ in node.outputs[0].uses()]
    if node.op_type != "MatMul" or len(users) != 1 or users[0].op_type != "Add":
        return node, 2
    for index, value in enumerate(users[0].inputs):
        own = value is not None and value.const_value is not None and len(value.uses()) == 1
        if own and shape(value) == shape(node.outputs[0])[-1:]:
            return users[0], index
    return node, 2


def _ints(node: oir.Node, name: str, default: list[int]) -> list[int]:
    return list(node.attributes[name].as_ints()) if name in node.attributes else default


def _numbers(value: oir.Value | None) -> Floats:
    assert value is not None
    assert value.const_value is not None
    return np.asarray(value.const_value.numpy(), np.float64)


def _store(node: oir.Node, index: int, array: Floats, name: str) -> None:
    tensor = oir.tensor(np.ascontiguousarray(array, np.float32), name=name)
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is not None:
        tensor.name = value.name
        value.const_value, value.shape = tensor, oir.Shape(array.shape)
        return
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    value = oir.val(name, const_value=tensor)
    assert node.graph is not None
    node.graph.register_initializer(value)
    node.replace_input_with(index, value)
