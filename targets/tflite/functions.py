"""Operators that ONNX defines by simpler ones, lowered as these if they have no lowering of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
import onnx_ir as oir
from onnx import helper, inliner

from edgecut.ir.program import Program
from edgecut.targets.tflite.ops.base import Call


def definition(call: Call, opsets: Mapping[str, int]) -> Program | None:
    """The body of a node's function with the node's own input and output names, or None where it has none.

    Args:
        call: The node.
        opsets: Versions of the operator sets of its program, for those that its function does not name.
    """
    node = oir.to_proto(call.node)
    domain = "" if node.domain == "ai.onnx" else node.domain
    if not onnx.defs.has(node.op_type, max_inclusive_version=call.opset, domain=domain):
        return None
    schema: Any = onnx.defs.get_schema(node.op_type, max_inclusive_version=call.opset, domain=domain)
    types = [_type(call, i) for i in range(len(node.input))]
    function = onnx.FunctionProto()
    if schema.has_context_dependent_function:
        raw = schema.get_context_dependent_function(
            node.SerializeToString(), [t.SerializeToString() for t in types]
        )
        function.ParseFromString(raw)
    elif schema.has_function:
        function.CopyFrom(schema.function_body)
    else:
        return None
    function.domain, function.name = domain, node.op_type
    inputs = [onnx.ValueInfoProto(name=n, type=t) for n, t in zip(node.input, types, strict=True) if n]
    outputs = [helper.make_empty_tensor_value_info(n) for n in node.output if n]
    graph = helper.make_graph([node], "definition", list({v.name: v for v in inputs}.values()), outputs)
    named = {o.domain for o in function.opset_import}
    function.opset_import.extend(helper.make_opsetid(d, v) for d, v in opsets.items() if d not in named)
    model = helper.make_model(graph, functions=[function], opset_imports=function.opset_import)
    inlined = inliner.inline_local_functions(model)
    found = Program(oir.from_proto(inlined))
    found.name_nodes()
    return found


def _type(call: Call, index: int) -> onnx.TypeProto:
    if not call.has(index):
        return onnx.TypeProto()
    tensor = call.input(index)
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(tensor.dtype), tensor.shape)
