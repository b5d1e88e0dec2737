"""BatchNormalization folds into the convolution or Gemm before it, or becomes a Mul and an Add."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir.program import Program
from edgecut.passes.simplify import rewriting

Array = NDArray[Any]


@dataclass(frozen=True)
class _Affine:
    """What a BatchNormalization computes: ``x * factor + offset`` per channel, in float64."""

    factor: Array
    offset: Array


def fold(program: Program) -> int:
    """Remove every BatchNormalization with constant parameters; gives how many there were."""
    names, count = rewriting.Names(program), 0
    for node in list(program.nodes):
        affine = _affine(node) if node.op_type == "BatchNormalization" else None
        if affine is None:
            continue
        before = node.inputs[0].producer() if node.inputs[0] else None
        if before is None or not _fold_into(program, names, before, node, affine):
            _replace(program, names, node, affine)
        count += 1
    return count


def _affine(node: oir.Node) -> _Affine | None:
    """Its parameters, or None where they are computed or it is in training mode."""
    arrays = [rewriting.constant(value) for value in node.inputs[1:5]]
    training = rewriting.attribute(node, "training_mode", 0)
    if training or any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return None
    if len(arrays) != 4 or not rewriting.is_float(node.inputs[0]):
        return None
    known = [a.astype(np.float64) for a in arrays if a is not None]
    if len(known) != 4:
        return None
    gamma, beta, mean, variance = known
    factor = gamma / np.sqrt(variance + rewriting.attribute(node, "epsilon", 1e-5))
    return _Affine(factor, beta - mean * factor)


def _fold_into(
    program: Program, names: rewriting.Names, before: oir.Node, node: oir.Node, affine: _Affine
) -> bool:
    """Scale the weights of the node before; False where it has none that may be changed."""
    weight_axis = _OUTPUT_AXIS.get(before.op_type)
    output = before.outputs[0]
    alone = len(output.uses()) == 1 and not output.is_graph_output()
    if weight_axis is None or before.domain not in ("", "ai.onnx") or not alone:
        return False
    weight = rewriting.constant(before.inputs[1])
    bias_value = before.inputs[2] if len(before.inputs) > 2 else None
    bias = rewriting.constant(bias_value)
    if weight is None or (bias_value is not None and bias is None):
        return False
    if before.op_type == "Gemm" and rewriting.attribute(before, "beta", 1.0) != 1.0:
        return False
    scaled = _scale(before, weight, affine.factor)
    old = np.zeros(1) if bias is None else bias.astype(np.float64)
    if scaled is None or (before.op_type == "Gemm" and old.ndim > 1 and old.shape[0] != 1):
        return False
    shifted = np.broadcast_to(old.reshape(-1), affine.factor.shape) * affine.factor + affine.offset
    inputs = [
        before.inputs[0],
        names.initializer(f"{before.name}_weight", scaled.astype(weight.dtype)),
        names.initializer(f"{before.name}_bias", shifted.astype(weight.dtype)),
    ]
    merged = oir.Node(before.domain, before.op_type, inputs, before.attributes.values(), name=before.name)
    rewriting.replace(program, [before, node], merged, node.outputs[0])
    return True


# Which operators, and the axis of output channels of their weight.
_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1}


def _scale(before: oir.Node, weight: Array, factor: Array) -> Array | None:
    if before.op_type == "Conv":
        return weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    if before.op_type == "Gemm":
        transposed = rewriting.attribute(before, "transB", 0)
        return weight * (factor[:, None] if transposed else factor[None, :])
    groups = int(rewriting.attribute(before, "group", 1))
    if weight.shape[0] % groups:
        return None
    grouped = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    scaled: Array = grouped * factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
    return scaled.reshape(weight.shape)


def _replace(program: Program, names: rewriting.Names, node: oir.Node, affine: _Affine) -> None:
    """Where nothing before can take it: one Mul and one Add, which both sides run as one kernel each."""
    value, output = node.inputs[0], node.outputs[0]
    rank = len(value.shape) if value is not None and value.shape is not None else 2
    dtype = value.dtype.numpy() if value is not None and value.dtype is not None else np.dtype(np.float32)
    dims = (-1, *[1] * (rank - 2))
    factor = names.initializer(f"{node.name}_factor", affine.factor.reshape(dims).astype(dtype))
    offset = names.initializer(f"{node.name}_offset", affine.offset.reshape(dims).astype(dtype))
    scaled = oir.Node("", "Mul", [value, factor], name=names.free(f"{node.name}_mul"))
    scaled.outputs[0].name = scaled.name
    scaled.outputs[0].shape, scaled.outputs[0].type = output.shape, output.type
    rewriting.note_origin(scaled, [node])
    program.graph.insert_before(node, scaled)
    shifted = oir.Node("", "Add", [scaled.outputs[0], offset], name=node.name)
    rewriting.replace(program, [node], shifted, output)
