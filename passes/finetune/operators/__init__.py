"""What ONNX operators compute, in torch: those that trained networks are made of after import.

Each function takes the node and its inputs (tensors of one sample, with the batch axis of size 1 that the
graph has) and returns its outputs. Integers that say how (shapes, axes) are constants of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as oir

from edgecut.ir.errors import ModelError
from edgecut.passes.finetune.operators import elementwise, layout, normalization, windows
from edgecut.passes.finetune.operators.read import Operator, Tensor, Unsupported

OPERATORS: dict[str, Operator] = {
    **elementwise.OPERATORS,
    **windows.OPERATORS,
    **normalization.OPERATORS,
    **layout.OPERATORS,
}

_HINT = "prune without finetune, or train it where it was made"


def compute(node: oir.Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """The outputs of a node.

    Raises:
        ModelError: The operator, or this form of it, cannot be trained.
    """
    operator = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if operator is None:
        raise ModelError(f"cannot train through the operator {node.op_type}", where=node.name, hint=_HINT)
    try:
        found = operator(node, inputs)
    except Unsupported as reason:
        what = f"cannot train through this {node.op_type}: {reason}"
        raise ModelError(what, where=node.name, hint=_HINT) from reason
    return found if isinstance(found, (list, tuple)) else [found]


__all__ = ["OPERATORS", "Unsupported", "compute"]
