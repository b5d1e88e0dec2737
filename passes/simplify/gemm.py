"""A matrix product with a constant, and the bias added to it, are one Gemm."""

import onnx_ir as oir

from edgecut.ir.program import Program, static_shape
from edgecut.passes.simplify import rewriting


def fuse(program: Program) -> int:
    """Fuse MatMul and Add of two-dimensional tensors; gives how many pairs there were.

    Gemm has no more dimensions than two, and the reshapes around it would cost what the fusion gains.
    """
    names = rewriting.Names(program)
    return sum(_fuse(program, names, node) for node in list(program.nodes) if node.op_type == "Add")


def _fuse(program: Program, names: rewriting.Names, add: oir.Node) -> bool:
    for product, bias in (add.inputs, reversed(add.inputs)):
        matmul = product.producer() if product is not None else None
        if matmul is None or product is None or matmul.op_type != "MatMul" or matmul.domain:
            continue
        alone = len(product.uses()) == 1 and not product.is_graph_output()
        weight = rewriting.constant(matmul.inputs[1])
        added = rewriting.constant(bias)
        if not alone or weight is None or weight.ndim != 2 or added is None:
            continue
        shape = static_shape(product)
        if shape is None or len(shape) != 2 or added.size != shape[1] or added.shape[-1:] != shape[1:]:
            continue
        if static_shape(add.outputs[0]) != shape or not rewriting.is_float(product):
            continue
        flat = names.initializer(f"{matmul.name}_bias", added.reshape(-1))
        gemm = oir.Node("", "Gemm", [*matmul.inputs, flat], name=matmul.name)
        rewriting.replace(program, [matmul, add], gemm, add.outputs[0])
        return True
    return False
