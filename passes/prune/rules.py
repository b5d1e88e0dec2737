"""What each operator says about the positions of its tensors. An operator without a rule fixes them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as oir

from edgecut.ir.program import Program
from edgecut.passes.prune.dims import ChannelGroup, Dims, Ids, fix_all, link_axes

Rule = Callable[[Dims, oir.Node], None]


def groups(program: Program) -> list[ChannelGroup]:
    """All channels that can be removed, in groups, in the order of the graph.

    Where a reshape takes an axis apart (into heads and what is in them), one of the new axes carries the
    channels: the first that nothing else fixes. Which are free is known after a look at the whole graph.
    """
    first = analyse(program)
    return analyse(program, first).groups() if first.undecided else first.groups()


def analyse(program: Program, seen: Dims | None = None) -> Dims:
    """Apply the rule of every node; what the user sees of the program is fixed.

    Args:
        program: What to look at.
        seen: What a first look found, to decide by what reshapes leave open.
    """
    dims = Dims(seen)
    fix_all(dims, program.graph.inputs)
    for node in program.nodes:
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        (rule or _unknown)(dims, node)
    fix_all(dims, program.graph.outputs)
    return dims


def _unknown(dims: Dims, node: oir.Node) -> None:
    fix_all(dims, (*node.inputs, *node.outputs))


def _conv(dims: Dims, node: oir.Node) -> None:
    data, weight, out = dims.axes(_in(node, 0)), dims.axes(_in(node, 1)), dims.axes(node.outputs[0])
    groups, channels = integer(node, "group", 1), len(data[1])
    dims.fix(*data[2:], *weight[2:], *out[2:])
    dims.link(data[0], out[0])
    if groups == 1:
        dims.link(data[1], weight[1])
    elif groups == channels:
        dims.link(np.repeat(data[1], len(weight[0]) // channels), weight[0])
        dims.fix(weight[1])
    else:
        # Groups stay of equal size: the n-th channel leaves all of them at once.
        dims.link(data[1], np.tile(weight[1], groups))
        dims.link(weight[0], np.tile(weight[0][: len(weight[0]) // groups], groups))
    dims.link(weight[0], out[1])
    _bias(dims, node, out[1])
    dims.make(weight[0])


def _conv_transpose(dims: Dims, node: oir.Node) -> None:
    if integer(node, "group", 1) != 1:
        _unknown(dims, node)
        return
    data, weight, out = dims.axes(_in(node, 0)), dims.axes(_in(node, 1)), dims.axes(node.outputs[0])
    dims.fix(*data[2:], *weight[2:], *out[2:])
    dims.link(data[0], out[0])
    dims.link(data[1], weight[0])
    dims.link(weight[1], out[1])
    _bias(dims, node, out[1])
    dims.make(weight[1])


def _gemm(dims: Dims, node: oir.Node) -> None:
    data, weight, out = dims.axes(_in(node, 0)), dims.axes(_in(node, 1)), dims.axes(node.outputs[0])
    data = data[::-1] if integer(node, "transA", 0) else data
    weight = weight[::-1] if integer(node, "transB", 0) else weight
    dims.link(data[0], out[0])
    dims.link(data[1], weight[0])
    dims.link(weight[1], out[1])
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        _broadcast(dims, node.inputs[2], node.outputs[0])
    if _in(node, 1).const_value is not None:
        dims.make(weight[1])


def _matmul(dims: Dims, node: oir.Node) -> None:
    left, right, out = dims.axes(_in(node, 0)), dims.axes(_in(node, 1)), dims.axes(node.outputs[0])
    if len(left) < 2 or len(right) < 2:
        _unknown(dims, node)
        return
    dims.link(left[-1], right[-2])
    dims.link(left[-2], out[-2])
    dims.link(right[-1], out[-1])
    for side in (left[:-2], right[:-2]):
        _align(dims, side, out[:-2])
    if _in(node, 1).const_value is not None:
        dims.make(right[-1])


def _elementwise(dims: Dims, node: oir.Node) -> None:
    for value in node.inputs:
        if value is not None:
            _broadcast(dims, value, node.outputs[0])


def _activation(dims: Dims, node: oir.Node) -> None:
    """Element-wise in the first input; the others are scalars."""
    _broadcast(dims, _in(node, 0), node.outputs[0])


def _normalization(dims: Dims, node: oir.Node) -> None:
    """Statistics per channel, stored or taken over the pixels: channels do not see each other."""
    value, out = _in(node, 0), node.outputs[0]
    link_axes(dims, value, out, range(len(dims.axes(value))))
    for parameter in node.inputs[1:]:
        if parameter is not None:
            dims.link(dims.axes(parameter)[0], dims.axes(out)[1])


def _layer_norm(dims: Dims, node: oir.Node) -> None:
    """Statistics are taken over the last axes: without one of their positions they would be others."""
    value, out = _in(node, 0), node.outputs[0]
    first = integer(node, "axis", -1) % max(1, len(dims.axes(value)))
    link_axes(dims, value, out, range(first))
    dims.fix(*dims.axes(value)[first:], *dims.axes(out)[first:])
    fix_all(dims, (*node.inputs[1:], *node.outputs[1:]))


def _pool(dims: Dims, node: oir.Node) -> None:
    value, out = _in(node, 0), node.outputs[0]
    link_axes(dims, value, out, (0, 1))
    dims.fix(*dims.axes(value)[2:], *dims.axes(out)[2:])
    fix_all(dims, node.outputs[1:])


def _softmax(dims: Dims, node: oir.Node) -> None:
    value, out = _in(node, 0), node.outputs[0]
    link_axes(dims, value, out, range(len(dims.axes(value))))
    dims.fix(dims.axes(value)[integer(node, "axis", -1)])


def _reduce(dims: Dims, node: oir.Node) -> None:
    value, out = _in(node, 0), node.outputs[0]
    data = dims.axes(value)
    axes = {a % len(data) for a in integers(node, "axes", 1) or range(len(data))}
    dims.fix(*(data[a] for a in axes))
    kept = [data[a] for a in range(len(data)) if a not in axes]
    left = dims.axes(out)
    if integer(node, "keepdims", 1):
        left = [left[a] for a in range(len(data)) if a not in axes]
    for a, b in zip(kept, left, strict=True):
        dims.link(a, b)


def _transpose(dims: Dims, node: oir.Node) -> None:
    data, out = dims.axes(_in(node, 0)), dims.axes(node.outputs[0])
    order = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(len(data))[::-1]
    for axis, source in enumerate(order):
        dims.link(data[source], out[axis])


def _concat(dims: Dims, node: oir.Node) -> None:
    out = dims.axes(node.outputs[0])
    joined = integer(node, "axis", 0) % len(out)
    parts = [dims.axes(v) for v in node.inputs if v is not None]
    dims.link(np.concatenate([p[joined] for p in parts]), out[joined])
    for part in parts:
        for axis in range(len(out)):
            if axis != joined:
                dims.link(part[axis], out[axis])


def _split(dims: Dims, node: oir.Node) -> None:
    data = dims.axes(_in(node, 0))
    cut = integer(node, "axis", 0) % len(data)
    parts = [dims.axes(v) for v in node.outputs]
    dims.link(np.concatenate([p[cut] for p in parts]), data[cut])
    for part in parts:
        for axis in range(len(data)):
            if axis != cut:
                dims.link(part[axis], data[axis])


def _window(dims: Dims, node: oir.Node) -> None:
    """Pad and Resize: channels pass where they are neither padded nor interpolated, pixels are fixed."""
    value, out = _in(node, 0), node.outputs[0]
    before, after = dims.axes(value), dims.axes(out)
    link_axes(dims, value, out, range(min(2, len(before))))
    dims.fix(*before[2:], *after[2:])


def _slice(dims: Dims, node: oir.Node) -> None:
    data, out = dims.axes(_in(node, 0)), dims.axes(node.outputs[0])
    cut = integers(node, "axes", 3) or range(len(data))
    axes = {a % len(data) for a in cut}
    for axis, (before, after) in enumerate(zip(data, out, strict=True)):
        if axis in axes:
            dims.fix(before, after)
        else:
            dims.link(before, after)


def _gather(dims: Dims, node: oir.Node) -> None:
    """Positions are picked along one axis, which stays as it is; the others pass."""
    data, index, out = dims.axes(_in(node, 0)), dims.axes(_in(node, 1)), dims.axes(node.outputs[0])
    axis = integer(node, "axis", 0) % max(1, len(data))
    picked = range(axis, axis + len(index))
    dims.fix(data[axis], *index, *(out[a] for a in picked))
    left = [out[a] for a in range(len(out)) if a not in picked]
    for before, after in zip([*data[:axis], *data[axis + 1 :]], left, strict=True):
        dims.link(before, after)


def _reshape(dims: Dims, node: oir.Node) -> None:
    """Follow each run of axes that becomes another run of the same size: one is what the other is made of.

    An axis of one position goes and comes by itself: that position cannot be removed.
    """
    value, result = _in(node, 0), node.outputs[0]
    data, out = dims.axes(value), dims.axes(result)
    dims.fix(*(ids for ids in (*data, *out) if len(ids) == 1))
    for before, after in _runs([len(a) for a in data], [len(a) for a in out]):
        old = [a for a in before if len(data[a]) > 1]
        new = [a for a in after if len(out[a]) > 1]
        if len(new) == 1:
            _carry(dims, value, old, out[new[0]])
        elif len(old) == 1:
            _carry(dims, result, new, data[old[0]])
        else:
            dims.fix(*(data[a] for a in old), *(out[a] for a in new))


def _carry(dims: Dims, many: oir.Value, axes: Sequence[int], one: Ids) -> None:
    """Some axes of a value are one axis of another: the one that is free carries its channels.

    A channel is then a position of the carrier with all positions of the others beside it.
    """
    parts = [dims.axes(many)[a] for a in axes]
    free = [a for a, ids in zip(axes, parts, strict=True) if not dims.is_fixed(ids)]
    if len(free) > 1:
        if dims.seen is None:
            dims.undecided = True
            return
        free = [a for a in free if not dims.seen.is_fixed(dims.seen.axes(many)[a])][:1]
    for axis, ids in zip(axes, parts, strict=True):
        if axis not in free:
            dims.fix(ids)
    if not free:
        dims.fix(one)
        return
    which = axes.index(free[0])
    dims.link(one, parts[which][np.indices([len(ids) for ids in parts])[which].ravel()])


def _runs(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Smallest consecutive runs of axes of both sides with equal products."""
    runs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        left, right = [i] if i < len(before) else [], [j] if j < len(after) else []
        a, b = int(np.prod([before[k] for k in left])), int(np.prod([after[k] for k in right]))
        while a != b:
            if a < b:
                left.append(left[-1] + 1)
                a *= before[left[-1]]
            else:
                right.append(right[-1] + 1)
                b *= after[right[-1]]
        runs.append((left, right))
        i, j = i + len(left), j + len(right)
    return runs


def _bias(dims: Dims, node: oir.Node, channels: Ids) -> None:
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        dims.link(dims.axes(node.inputs[2])[0], channels)


def _broadcast(dims: Dims, value: oir.Value, out: oir.Value) -> None:
    _align(dims, dims.axes(value), dims.axes(out))


def _align(dims: Dims, side: Sequence[Ids], out: Sequence[Ids]) -> None:
    """Link axes from the last one; an axis of one position that is repeated is not removable."""
    for a, b in zip(reversed(side), reversed(out), strict=False):
        if len(a) == len(b):
            dims.link(a, b)
        else:
            dims.fix(a)


def _in(node: oir.Node, index: int) -> oir.Value:
    value = node.inputs[index]
    assert value is not None
    return value


def integer(node: oir.Node, name: str, default: int) -> int:
    """An integer attribute."""
    return node.attributes[name].as_int() if name in node.attributes else default


def integers(node: oir.Node, name: str, index: int) -> list[int] | None:
    """Integers from an attribute (older operator sets) or a constant input."""
    if name in node.attributes:
        return list(node.attributes[name].as_ints())
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None or value.const_value is None:
        return None
    return [int(i) for i in np.atleast_1d(value.const_value.numpy())]


_ELEMENTWISE = "Add Sub Mul Div Max Min Sum Mean PRelu Where"
_ACTIVATIONS = """Relu Clip LeakyRelu Sigmoid Tanh HardSigmoid HardSwish Elu Selu Celu Softplus Softsign Gelu
    Erf Mish Abs Neg Exp Sqrt Identity Dropout Cast"""
RULES: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _normalization,
    "InstanceNormalization": _normalization,
    "LayerNormalization": _layer_norm,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    **dict.fromkeys(("Pad", "Resize"), _window),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _pool),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _reduce),
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(_ACTIVATIONS.split(), _activation),
}
