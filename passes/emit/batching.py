"""The program for another batch than the one that it was imported with, which is one."""

import numpy as np
import onnx_ir as oir

from edgecut.frontends import normalize
from edgecut.ir.errors import ConstraintError, EdgecutError
from edgecut.ir.program import Program, static_shape
from edgecut.passes.simplify import rewriting

_HINT = "export the model with an open batch, or convert it for a batch of one"


def at_batch(program: Program, batch: int) -> Program:
    """A copy whose inputs and outputs have ``batch`` samples along their first dimension.

    Constant shapes with a leading one that Reshape, Resize and Expand take have a leading ``batch`` then.

    Raises:
        ConstraintError: The batch is baked in somewhere else; the message says where.
    """
    result = program.copy()
    for value in result.graph.inputs:
        shape = static_shape(value)
        if value.is_initializer():
            continue
        if not shape or shape[0] != 1:
            raise ConstraintError("has no batch of one to be opened", where=value.name, hint=_HINT)
        value.shape = oir.Shape((batch, *shape[1:]))
    _open_shapes(result, batch)
    try:
        normalize.infer_shapes(result.model, program.graph.name or "the model")
    except EdgecutError as error:
        raise ConstraintError(f"cannot take any batch: {error}", hint=_HINT) from error
    for value in result.graph.outputs:
        shape = static_shape(value)
        if not shape or shape[0] != batch:
            raise ConstraintError("does not grow with the batch", where=value.name, hint=_HINT)
    return result


# Operators that take a shape, and which of their inputs it is.
_SHAPES = {"Reshape": 1, "Expand": 1, "Resize": 3}


def _open_shapes(program: Program, batch: int) -> None:
    names = rewriting.Names(program)
    grows = {v for v in program.graph.inputs if not v.is_initializer()}
    for node in program.nodes:
        if not any(v in grows for v in node.inputs):
            continue
        grows.update(node.outputs)
        index = _SHAPES.get(node.op_type, len(node.inputs))
        shape = rewriting.constant(node.inputs[index]) if index < len(node.inputs) else None
        if shape is None or shape.size == 0 or shape[0] != 1:
            continue
        opened = np.array([batch, *shape[1:]], shape.dtype)
        node.replace_input_with(index, names.initializer(f"{node.name}_shape", opened))
