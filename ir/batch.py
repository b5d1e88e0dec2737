"""A model for one sample made one for any number: the first dimension of what it takes and gives is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

NAME = "batch"
"""Of the open dimension."""


def open_first_axis(model: onnx.ModelProto) -> bool:
    """Change a model, in place, to take any number of samples along the first axis; False if it has none.

    ONNX operators mostly work along the first axis whatever its length, so it is made symbolic, and constant
    targets of Reshape and Resize that begin with 1 keep their input's. Whether the model still computes the
    same for each sample is not argued here, and has to be tried.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if not dims or dims[0].dim_value != 1:
            return False
        dims[0].dim_param = NAME
    del graph.value_info[:]
    constants = {c.name: c for c in graph.initializer if not c.external_data}
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    for node in graph.node:
        place = {"Reshape": 1, "Resize": 3}.get(node.op_type, len(node.input))
        constant = constants.get(node.input[place]) if place < len(node.input) else None
        target = None if constant is None else numpy_helper.to_array(constant)
        if constant is None or target is None or target.ndim != 1 or target.size == 0 or target[0] != 1:
            continue
        if node.op_type == "Reshape" and (target.all() or not _allows_zero(node)):
            _drop(node, "allowzero")
            changed = np.concatenate([[0], target[1:]]).astype(target.dtype)
        elif node.op_type == "Resize" and opset >= 18 and not any(a.name == "axes" for a in node.attribute):
            changed = target[1:]
            node.attribute.append(helper.make_attribute("axes", list(range(1, target.size))))
        else:
            continue
        name = f"{constant.name}__{NAME}_{len(graph.initializer)}"
        graph.initializer.append(numpy_helper.from_array(changed, name))
        node.input[place] = name
    return True


def _allows_zero(node: onnx.NodeProto) -> bool:
    return any(a.name == "allowzero" and a.i for a in node.attribute)


def _drop(node: onnx.NodeProto, name: str) -> None:
    for attribute in [a for a in node.attribute if a.name == name]:
        node.attribute.remove(attribute)
