"""A model whose images come and go channels last: Transposes before its inputs and after its outputs."""

from __future__ import annotations

from pathlib import Path

FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def changed(model: Path, to: Path) -> Path | None:
    """Write such a model; None where no input or output is an image."""
    import onnx

    proto = onnx.load(str(model))
    graph, found = proto.graph, False
    for values, perm, inward in ((graph.input, FIRST, True), (graph.output, LAST, False)):
        for value in values:
            dims = value.type.tensor_type.shape.dim
            if len(dims) != 4:
                continue
            found = True
            own = f"{value.name}_first"
            for node in graph.node:
                names = (node.input, node.output) if not inward else (node.input,)
                for some in names:
                    some[:] = [own if n == value.name else n for n in some]
            ends = [value.name, own] if inward else [own, value.name]
            turn = onnx.helper.make_node("Transpose", ends[:1], ends[1:], name=f"{own}_turn", perm=perm)
            graph.node.insert(0 if inward else len(graph.node), turn)
            sizes = [onnx.TensorShapeProto.Dimension() for _ in dims]
            for size, axis in zip(sizes, LAST, strict=True):
                size.CopyFrom(dims[axis])
            del dims[:]
            dims.extend(sizes)
    if found:
        onnx.save(proto, str(to))
    return to if found else None
