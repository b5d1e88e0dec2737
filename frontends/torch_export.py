"""``.pt2`` files of ``torch.export.save``, through PyTorch's own ONNX exporter."""

from pathlib import Path

import onnx

from edgecut.frontends.normalize import OPSET
from edgecut.frontends.quiet import quiet, reason, require
from edgecut.ir.errors import ModelError


def read(path: Path) -> onnx.ModelProto:
    """Read an exported program and convert it to ONNX.

    Raises:
        ModelError: torch is not installed, the file is not readable, or an operator has no ONNX form.
    """
    with quiet():
        torch, _ = require("torch", "onnxscript", extra="torch")
        try:
            exported = torch.export.load(path)
        except Exception as error:  # zipfile, pickle and torch raise what they like for a damaged file
            raise ModelError(f"is no readable .pt2 file: {reason(error)}", where=str(path)) from error
        try:
            converted = torch.onnx.export(
                exported, dynamo=True, opset_version=OPSET, external_data=False, verbose=False
            )
            proto: onnx.ModelProto = converted.model_proto
        except Exception as error:  # the exporter wraps every failure in kinds of its own
            raise ModelError(f"cannot be converted to ONNX: {reason(error)}", where=str(path)) from error
    _strip(proto)
    return proto


def _strip(proto: onnx.ModelProto) -> None:
    """Drop the exporter's notes: they hold paths of the machine, and builds should not depend on it."""
    graph = proto.graph
    del proto.metadata_props[:], graph.metadata_props[:]
    for items in (graph.node, graph.input, graph.output, graph.value_info, graph.initializer):
        for item in items:
            item.ClearField("doc_string")
            del item.metadata_props[:]
