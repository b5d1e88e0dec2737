"""Operators of ONNX Runtime's own (com.microsoft) that its optimizer makes, written in standard ONNX.

An optimized model can thereby be compiled like the one that it was made from. Each is what the operator's
documentation in ONNX Runtime (docs/ContribOperators.md) says it computes; what has another form (a cache of
past keys, say) stays as it is, and is reported as unknown by whoever reads the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import NodeProto

from edgecut.frontends.contrib import attention, gelus, norms, products, quantized
from edgecut.frontends.contrib.writer import Expansion, Writer

DOMAIN = "com.microsoft"
_OWN = ("SimplifiedLayerNormalization", "LayerNormalization")
"""Made in the standard domain, whatever the model's operator set."""
_EXPANSIONS: dict[str, Expansion] = {}
for _family in (products, gelus, norms, attention, quantized):
    _EXPANSIONS.update(_family.EXPANSIONS)


def expand(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with standard nodes in place of those of ONNX Runtime; itself where it has none."""
    graph = proto.graph
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)
    if not any(_foreign(node, opset) for node in graph.node):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes += _expanded(copy.graph, node, opset)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _foreign(node: NodeProto, opset: int) -> bool:
    unknown = node.op_type in _OWN and not onnx.defs.has(node.op_type, max_inclusive_version=opset)
    return node.domain == DOMAIN or unknown


def _expanded(graph: onnx.GraphProto, node: NodeProto, opset: int) -> Sequence[NodeProto]:
    if not _foreign(node, opset):
        return [node]
    writer = Writer(graph, node, opset)
    expansion = _EXPANSIONS.get(node.op_type)
    return writer.nodes if expansion is not None and expansion(writer) else [node]
