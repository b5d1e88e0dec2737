"""Operators that move numbers, and compute none: parts, joins, shapes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as oir

from edgecut.passes.finetune.operators import read
from edgecut.passes.finetune.operators.read import Operator, Tensor


def _concat(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return read.torch().cat(list(inputs), dim=read.integer(node, "axis", 0))


def _split(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    axis = read.integer(node, "axis", 0)
    sizes = [read.shape(v)[axis] for v in node.outputs]
    return read.torch().split(inputs[0], sizes, dim=axis)


def _slice(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    starts, ends = read.told(node, "starts", 1) or [], read.told(node, "ends", 2) or []
    axes = read.told(node, "axes", 3) or list(range(len(starts)))
    steps = read.told(node, "steps", 4) or [1] * len(starts)
    found = inputs[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise read.Unsupported("it goes backwards")
        at = range(found.shape[axis])[start:end:step]
        found = (
            found.narrow(axis, at.start, max(0, at.stop - at.start)) if step == 1 else _pick(found, axis, at)
        )
    return found


def _pick(data: Tensor, axis: int, at: Sequence[int]) -> Tensor:
    return read.torch().index_select(data, axis, read.torch().tensor(list(at)))


def _pad(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    pads, axes = read.told(node, "pads", 1) or [], read.told(node, "axes", 3)
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    if mode != "constant" or axes is not None:
        raise read.Unsupported("its mode or axes")
    value = float(inputs[2]) if len(inputs) > 2 else 0.0
    return read.torch().nn.functional.pad(inputs[0], read.torch_pads(pads, len(pads) // 2), value=value)


def _gather(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    data, at = inputs
    axis = read.integer(node, "axis", 0) % data.ndim
    at = read.torch().where(at < 0, at + data.shape[axis], at).long()
    return data[(slice(None),) * axis + (at,)]


def _resize(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    before, after = read.shape(node.inputs[0]), read.shape(node.outputs[0])
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "nearest"
    factors = [b / a for a, b in zip(before, after, strict=True)]
    if mode != "nearest" or any(f != int(f) for f in factors):
        raise read.Unsupported("only nearest neighbours by whole factors")
    found = inputs[0]
    for axis, factor in enumerate(factors):
        found = found if factor == 1 else found.repeat_interleave(int(factor), dim=axis)
    return found


def _reshape(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    data, shape = inputs[0], read.shape(node.outputs[0])
    # A first axis of one may be that of a batch.
    return data.reshape(-1, *shape[1:]) if shape[:1] == (1,) and data.ndim else data.reshape(shape)


def _transpose(node: oir.Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].permute(read.integers(node, "perm", list(range(inputs[0].ndim))[::-1]))


OPERATORS: dict[str, Operator] = {
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Gather": _gather,
    "Resize": _resize,
    "Transpose": _transpose,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
}
