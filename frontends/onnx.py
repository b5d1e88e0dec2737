"""ONNX files, with their external data."""

from pathlib import Path

import onnx

from edgecut.ir.errors import ModelError


def read(path: Path) -> onnx.ModelProto:
    """Read an ``.onnx`` file and the weights that stand in files beside it.

    Raises:
        ModelError: The file or its external data are absent or not readable.
    """
    proto = read_structure(path)
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
    except Exception as error:  # a missing file is a ValidationError, an odd one may be anything
        raise ModelError("its external data are absent or not readable", where=str(path)) from error
    return proto


def read_structure(path: Path) -> onnx.ModelProto:
    """Read an ``.onnx`` file, but not its external data.

    Raises:
        ModelError: The file is absent or not readable.
    """
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises kinds of its own
        raise ModelError("is no readable ONNX model (truncated?)", where=str(path)) from error
    if not proto.graph.output:
        raise ModelError("is no ONNX model: it has no graph outputs", where=str(path))
    return proto


def external_files(path: Path) -> list[Path]:
    """Files beside an ``.onnx`` file that hold its weights; none where it is not readable."""
    try:
        proto = read_structure(path)
    except ModelError:  # said when the model is imported
        return []
    tensors = onnx.external_data_helper._get_all_tensors(proto)
    entries = [e for t in tensors if onnx.external_data_helper.uses_external_data(t) for e in t.external_data]
    return [path.parent / name for name in sorted({e.value for e in entries if e.key == "location"})]
