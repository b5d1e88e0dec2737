"""`Program`: one ONNX model with its annotations, loaded from and saved to a plain ``.onnx`` file."""

import hashlib
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import onnx
import onnx_ir as oir

from edgecut.ir import annotations, files
from edgecut.ir.annotations import SCHEMA, SCHEMA_KEY
from edgecut.ir.errors import ModelError

# Protocol buffers cannot serialize messages of 2 GiB; weights above this go to a file beside the model.
EXTERNAL_DATA_THRESHOLD = (2 << 30) - (64 << 20)


@dataclass(frozen=True)
class TensorSpec:
    """Name, NumPy type name and shape of a graph input or output."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


class Program:
    """An `onnx_ir.Model` and the operations on it that every pass needs."""

    def __init__(self, model: oir.Model) -> None:
        self.model = model
        model.metadata_props.setdefault(SCHEMA_KEY, SCHEMA)

    @classmethod
    def empty(cls) -> Self:
        """A program without any node: what a pipeline starts with."""
        return cls(
            oir.Model(oir.Graph([], [], nodes=[], name="empty", opset_imports={"": 17}), ir_version=10)
        )

    @classmethod
    def from_proto(cls, proto: onnx.ModelProto) -> Self:
        """Wrap a ``ModelProto``; unnamed nodes get unique names.

        Raises:
            ModelError: The proto holds annotations of another schema version.
        """
        program = cls(oir.from_proto(proto))
        program._check_schema()
        program.name_nodes()
        return program

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an ``.onnx`` file; external data stays on disk until it is used.

        Raises:
            ModelError: There is no such file, or it is no ONNX model.
        """
        if not path.is_file():
            raise ModelError("no such file", where=str(path))
        try:
            proto = onnx.load(str(path), load_external_data=False)
            model = oir.from_proto(proto)
            oir.external_data.set_base_dir(model.graph, path.parent)
            parsed = bool(proto.graph.output)
        except Exception as error:  # protobuf, onnx and onnx_ir each raise kinds of their own here
            raise ModelError("is no readable ONNX model (truncated?)", where=str(path)) from error
        if not parsed:
            raise ModelError("is no ONNX model: it has no graph outputs", where=str(path))
        program = cls(model)
        program._check_schema()
        program.name_nodes()
        return program

    @property
    def graph(self) -> oir.Graph:
        """The main graph."""
        return self.model.graph

    @property
    def nodes(self) -> Iterator[oir.Node]:
        """Nodes of the main graph, in topological order."""
        return iter(self.graph)

    @property
    def inputs(self) -> list[TensorSpec]:
        """Graph inputs (not initializers)."""
        return [tensor_spec(v) for v in self.graph.inputs if v.name not in self.graph.initializers]

    @property
    def outputs(self) -> list[TensorSpec]:
        """Graph outputs."""
        return [tensor_spec(v) for v in self.graph.outputs]

    def values(self) -> dict[str, oir.Value]:
        """Every named value of the main graph: inputs, initializers and node outputs."""
        found = {v.name: v for v in (*self.graph.inputs, *self.graph.initializers.values()) if v.name}
        for node in self.graph:
            found.update({v.name: v for v in node.outputs if v.name})
        return found

    def value(self, name: str) -> oir.Value:
        """The value of this name.

        Raises:
            ModelError: There is none; the message names the closest.
        """
        values = self.values()
        if name not in values:
            import difflib

            close = difflib.get_close_matches(name, values, n=1, cutoff=0.0)
            raise ModelError(
                f"no tensor named {name!r}", hint=f"did you mean {close[0]!r}?" if close else None
            )
        return values[name]

    def proto(self) -> onnx.ModelProto:
        """The model as one ``ModelProto``, all weights inside."""
        copy = self.copy()
        oir.external_data.load_to_model(copy.model)
        return oir.to_proto(copy.model)

    def bytes(self) -> bytes:
        """The model as deterministic protobuf bytes.

        Raises:
            ModelError: It is over 2 GiB.
        """
        if self.weight_bytes() > EXTERNAL_DATA_THRESHOLD:
            raise ModelError("is over 2 GiB and does not fit one protobuf message", where=self.graph.name)
        data: bytes = self.proto().SerializeToString(deterministic=True)
        return data

    def weight_bytes(self) -> int:
        """Bytes of all initializers."""
        return sum(
            v.const_value.nbytes for v in self.graph.initializers.values() if v.const_value is not None
        )

    def save(self, path: Path) -> None:
        """Write the model, whole or not at all; weights above 2 GiB go to ``<path>.data`` beside it.

        Raises:
            TargetError: The disk is full or the place cannot be written.
        """
        if self.weight_bytes() <= EXTERNAL_DATA_THRESHOLD:
            files.write(path, self.bytes())
            return
        with files.disk_errors(path), tempfile.TemporaryDirectory(dir=path.parent) as stage:
            staged = Path(stage) / path.name
            oir.save(self.model, staged, external_data=f"{path.name}.data")
            os.replace(f"{staged}.data", f"{path}.data")
            os.replace(staged, path)

    def copy(self) -> Self:
        """An independent copy; weights, which passes replace and never write to, are shared."""
        return type(self)(self.model.clone())

    def fingerprint(self) -> str:
        """SHA-256 of the whole program: graph, weights and annotations."""
        if self.weight_bytes() <= EXTERNAL_DATA_THRESHOLD:
            return hashlib.sha256(self.bytes()).hexdigest()
        copy, digest = self.copy(), hashlib.sha256()
        for value in copy.graph.initializers.values():
            if value.const_value is not None:
                digest.update(np.ascontiguousarray(value.const_value.numpy()).data)
                value.const_value = None
        digest.update(oir.to_proto(copy.model).SerializeToString(deterministic=True))
        return digest.hexdigest()

    def name_nodes(self) -> None:
        """Give every unnamed or doubly named node a name: its operator and its first output."""
        taken: set[str] = set()
        for node in self.graph:
            wanted = node.name or f"{node.op_type}_{node.outputs[0].name if node.outputs else ''}"
            name, count = wanted, 1
            while name in taken:
                name, count = f"{wanted}_{count}", count + 1
            taken.add(name)
            node.name = name

    def _check_schema(self) -> None:
        found = self.model.metadata_props.get(SCHEMA_KEY, SCHEMA)
        if found != SCHEMA:
            hint = "use the edgecut that wrote it, or import the original model again"
            raise ModelError(f"holds annotations of schema {found}, not {SCHEMA}", hint=hint)


def tensor_spec(value: oir.Value) -> TensorSpec:
    """Describe a value; unknown dimensions are None, symbolic ones their name."""
    dtype = value.dtype.numpy().name if value.dtype is not None else "float32"
    dims = () if value.shape is None else tuple(_dimension(d) for d in value.shape)
    return TensorSpec(value.name or "", dtype, dims)


def static_shape(value: oir.Value) -> tuple[int, ...] | None:
    """The shape as integers, or None where it is not fully known."""
    if value.shape is None or not all(isinstance(d, int) for d in value.shape):
        return None
    return tuple(int(d) for d in value.shape if isinstance(d, int))


def nbytes(value: oir.Value) -> int:
    """Bytes of a value of known shape and type.

    Raises:
        ModelError: Its shape or type is not known.
    """
    shape = static_shape(value)
    if shape is None or value.dtype is None:
        raise ModelError("has no static shape", where=value.name, hint="give --shape for the inputs")
    return math.ceil(math.prod(shape) * value.dtype.itemsize)  # int4 takes half a byte


def _dimension(dim: int | oir.SymbolicDim) -> int | str | None:
    return dim if isinstance(dim, int) else dim.value


def history(program: Program) -> annotations.History:
    """The passes that made this program."""
    return annotations.get(program.model, annotations.History) or annotations.History()
