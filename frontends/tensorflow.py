"""What the Keras and SavedModel frontends share: a TensorFlow function to ONNX."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from edgecut.frontends.quiet import reason, require
from edgecut.ir.errors import ModelError

# The newest opset that tf2onnx writes; `normalize` takes it from there.
_OPSET = 18


def convert(
    function: Callable[..., Sequence[Any]], inputs: Sequence[Any], outputs: Sequence[str], where: str
) -> onnx.ModelProto:
    """Convert a function of tensors; inputs and outputs keep their names and order.

    Args:
        function: Takes as many tensors as there are inputs, gives as many as there are outputs.
        inputs: A ``tf.TensorSpec`` with its name for each input.
        outputs: Names of the outputs.
        where: The user's file, for errors.

    Raises:
        ModelError: An operator has no ONNX form.
    """
    tensorflow, tf2onnx = require("tensorflow", "tf2onnx", extra="tensorflow")
    specs = [tensorflow.TensorSpec(s.shape, s.dtype, name=f"edgecut_in{i}") for i, s in enumerate(inputs)]
    traced = tensorflow.function(lambda *args: list(function(*args)), input_signature=specs)
    try:
        handlers: dict[str, Any] = {"Erfc": (_erfc, [])}
        made = tf2onnx.convert.from_function(traced, specs, _OPSET, custom_op_handlers=handlers)
        proto: onnx.ModelProto = made[0]
    except Exception as error:  # TensorFlow and tf2onnx raise kinds of their own
        raise ModelError(f"cannot be converted to ONNX: {reason(error)}", where=where) from error
    names = [spec.name.split(":")[0] for spec in inputs]
    _rename(proto.graph, [v.name for v in proto.graph.input], names)
    _rename(proto.graph, [v.name for v in proto.graph.output], list(outputs))
    return proto


def _erfc(graph: Any, node: Any, name: str, arguments: Any) -> None:
    """``1 - erf(x)``, of which Keras makes its exact GELU, and which tf2onnx does not know."""
    kind, shape = graph.get_dtype(node.output[0]), graph.get_shape(node.output[0])
    one = graph.make_const(f"{name}_one", np.ones((), onnx.helper.tensor_dtype_to_np_dtype(kind)))
    erf = graph.make_node("Erf", node.input, dtypes=[kind], shapes=[shape])
    graph.remove_node(node.name)
    graph.make_node(
        "Sub", [one.output[0], erf.output[0]], outputs=node.output, name=name, dtypes=[kind], shapes=[shape]
    )


def _rename(graph: onnx.GraphProto, old: Sequence[str], new: Sequence[str]) -> None:
    """Rename tensors; one that has a new name already gives way."""
    names = dict(zip(old, new, strict=True))
    taken = {v for node in graph.node for v in node.output} | {v.name for v in graph.initializer}
    names.update({name: f"{name}_inner" for name in new if name in taken and name not in names})
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
