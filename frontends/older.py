"""Nodes whose meaning changed with the operator set, and that ONNX's converter leaves as they are."""

from __future__ import annotations

import onnx

from edgecut.frontends.contrib.writer import Writer


def rewrite(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model with such nodes written so that they mean the same before and after; itself without any."""
    chosen = {kind: write for kind, (oldest, newest, write) in _CHANGED.items() if oldest <= opset <= newest}
    if not any(_is(node, kind) for node in proto.graph.node for kind in chosen):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        write = next((write for kind, write in chosen.items() if _is(node, kind)), None)
        if write is None:
            nodes.append(node)
            continue
        writer = Writer(copy.graph, node, opset)
        write(writer)
        nodes += writer.nodes
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _is(node: onnx.NodeProto, kind: str) -> bool:
    return node.op_type == kind and node.domain in ("", "ai.onnx")


def _hardmax(w: Writer) -> None:
    """Once over all dimensions from ``axis`` on, later along it alone."""
    rows = w.make("Flatten", w.input(0), axis=int(w.get("axis", 1)))
    shape = w.make("Shape", w.input(0))
    w.make("Reshape", w.make("Hardmax", rows, axis=1), shape, out=w.output(0))


def _group_normalization(w: Writer) -> None:
    """Once one scale for each group, later for each channel."""
    groups = int(w.get("num_groups", 1))
    each = w.make("Div", w.make("Shape", w.input(0), start=1, end=2), w.integers(groups))
    wide = w.make("Concat", w.integers(groups), each, axis=0)
    scale, bias = (
        w.make(
            "Reshape", w.make("Expand", w.make("Reshape", name, w.integers(groups, 1)), wide), w.integers(-1)
        )
        for name in (w.input(1), w.input(2))
    )
    epsilon = float(w.get("epsilon", 1e-5))
    # The node itself changes with the converter, which looks at nothing but its name.
    w.make("GroupNormalization", w.input(0), scale, bias, out=w.output(0), num_groups=groups, epsilon=epsilon)


_CHANGED = {"Hardmax": (1, 12, _hardmax), "GroupNormalization": (18, 20, _group_normalization)}
"""Operator: the operator sets in which it meant something else, and how it is written then."""
