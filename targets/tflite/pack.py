"""The graph as a TFLite flatbuffer: one subgraph and signature per part, constants stored once."""

from __future__ import annotations

import bz2
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecut.ir.errors import ModelError
from edgecut.targets.tflite import codes, lir
from edgecut.targets.tflite.lir import Array, Op, Tensor
from edgecut.targets.tflite.tables import Grids, OperatorRow, Shared, Subgraph, TensorRow, Vectors

SOURCE_MAP = "edgecut.source_map"
"""JSON under bzip2, which has one implementation and so gives the same bytes everywhere."""
BUILD = "edgecut.build"
LIMIT = (1 << 31) - (1 << 20)
"""Offsets in a flatbuffer are signed 32-bit numbers."""

# Bytes at either end by which buffers are told apart, before they are compared.
_END = 64
# How a WHILE names its subgraphs.
_PARTS = ("condSubgraphIndex", "bodySubgraphIndex")


@dataclass(frozen=True)
class Signature:
    """One way into the file: which tensors it takes and gives, under which names."""

    key: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def pack(signatures: Sequence[Signature], build: dict[str, Any], rank: dict[str, int]) -> bytes:
    """Serialize the parts of a graph that the signatures need.

    Args:
        signatures: Each becomes a subgraph of its own.
        build: Written as JSON to the file's metadata.
        rank: Position of every ONNX node, by which the source map is ordered.

    Raises:
        ModelError: The file would exceed what the format can hold.
    """
    return _Packer(rank).run(signatures, build)


class _Packer:
    def __init__(self, rank: dict[str, int]) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.rank = rank
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = "edgecut"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.model.subgraphs = []
        self.model.signatureDefs = []
        self.model.metadata = []
        self.buffers: dict[tuple[int, bytes, bytes], list[int]] = {}
        """By their sizes and ends: few are compared whole, and none is hashed."""
        self.codes: dict[tuple[str, int], int] = {}
        self.options: dict[str, Shared] = {}
        self.parts: list[lir.Part] = []
        self.before_parts = 0
        self.grids = Grids()
        self.vectors = Vectors()
        self.bytes = 0

    def run(self, signatures: Sequence[Signature], build: dict[str, Any]) -> bytes:
        self.before_parts = len(signatures)
        source_map = {s.key: self.entry(s) for s in signatures}
        for part in self.parts:
            inputs, outputs = (
                {f"{side}{i}": t for i, t in enumerate(tensors)}
                for side, tensors in (("in", part.inputs), ("out", part.outputs))
            )
            self.subgraph(Signature(f"part{self.number(part)}", inputs, outputs))
        self.metadata(SOURCE_MAP, bz2.compress(_json(source_map)))
        self.metadata(BUILD, _json(build))
        if self.bytes > LIMIT:
            hint = "quantize it (int8 takes a quarter), or cut it so that less of it is on the edge"
            what = f"has {self.bytes >> 20} MiB of weights on the edge, and a TFLite file holds {LIMIT >> 20}"
            raise ModelError(what, where=build.get("model"), hint=hint)
        import flatbuffers

        builder = flatbuffers.Builder(min(self.bytes + (1 << 16), LIMIT))
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(memoryview(builder.Bytes)[builder.head :])

    def metadata(self, name: str, content: bytes) -> None:
        entry = self.schema.MetadataT()
        entry.name = name
        entry.buffer = self.buffer(np.frombuffer(content, np.uint8))
        self.model.metadata.append(entry)

    def buffer(self, data: Array) -> int:
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)  # without a copy, in most cases
        alike = self.buffers.setdefault((raw.nbytes, raw[:_END].tobytes(), raw[-_END:].tobytes()), [])
        found = next((i for i in alike if np.array_equal(self.model.buffers[i].data, raw)), None)
        if found is not None:
            return found
        buffer = self.schema.BufferT()
        buffer.data = raw
        self.model.buffers.append(buffer)
        alike.append(len(self.model.buffers) - 1)
        self.bytes += raw.nbytes
        return alike[-1]

    def entry(self, signature: Signature) -> list[list[str]]:
        """Add the subgraph of a signature; gives the ONNX nodes of each of its operators."""
        ops, indices = self.subgraph(signature)
        self.model.signatureDefs.append(self.signature(signature, indices))
        return [sorted(op.sources, key=lambda s: (self.rank.get(s, -1), s)) for op in ops]

    def number(self, part: lir.Part) -> int:
        """Where the subgraph of a part is, or will be: behind those of all signatures."""
        if part not in self.parts:
            self.parts.append(part)
        return self.before_parts + self.parts.index(part)

    def subgraph(self, signature: Signature) -> tuple[list[Op], dict[Tensor, int]]:
        """Add a subgraph; gives its operators, and the index of each tensor."""
        ops = lir.order(signature.outputs.values(), stop=signature.inputs.values())
        names = {t: n for n, t in signature.outputs.items()} | {t: n for n, t in signature.inputs.items()}
        indices: dict[Tensor, int] = {}
        for tensor in signature.inputs.values():
            indices.setdefault(tensor, len(indices))
        for op in ops:
            for each in (*op.inputs, *op.outputs):
                if each is not None:
                    indices.setdefault(each, len(indices))
        own = _short_names(set(names.values()))
        tensors = [self.tensor(t, names.get(t) or next(own)) for t in indices]
        operators = [self.operator(op, indices) for op in ops]
        inputs, outputs = (
            tuple(indices[t] for t in some.values()) for some in (signature.inputs, signature.outputs)
        )
        graph = Subgraph(signature.key, tensors, operators, inputs, outputs, self.grids, self.vectors)
        self.model.subgraphs.append(graph)
        return ops, indices

    def tensor(self, tensor: Tensor, name: str) -> TensorRow:
        stored = tensor.data is not None and tensor.data.size
        buffer = self.buffer(_bytes(tensor.data)) if tensor.data is not None and stored else 0
        signature = None
        if any(tensor.open):
            pairs = zip(tensor.shape, tensor.open, strict=True)
            signature = tuple(-1 if is_open else n for n, is_open in pairs)
        return TensorRow(name, tensor.shape, codes.number(tensor.dtype), buffer, signature, tensor.quant)

    def operator(self, op: Op, indices: dict[Tensor, int]) -> OperatorRow:
        inputs = tuple(-1 if t is None else indices[t] for t in op.inputs)
        outputs = tuple(indices[t] for t in op.outputs)
        name = codes.options_name(op.kind)
        table = getattr(self.schema, f"{name}T", None)
        kind, options = 0, None
        if table is not None:
            numbers = dict(zip(_PARTS, map(self.number, op.parts), strict=True)) if op.parts else op.options
            kind, options = getattr(self.schema.BuiltinOptions, name), self.shared(name, table, numbers)
        return OperatorRow(self.code(op.kind, codes.version(op)), inputs, outputs, kind, options)

    def shared(self, name: str, table: Any, options: dict[str, Any]) -> Shared:
        """The options of an operator; those of the same numbers are one table in the file."""
        key = f"{name} {sorted(options.items())}"
        if key not in self.options:
            made = table()
            for field, value in options.items():
                assert hasattr(made, field), f"{name} has no {field}"
                setattr(made, field, value)
            self.options[key] = Shared(made)
        return self.options[key]

    def code(self, kind: str, version: int) -> int:
        if (kind, version) not in self.codes:
            code = self.schema.OperatorCodeT()
            code.builtinCode = getattr(self.schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = version
            self.model.operatorCodes.append(code)
            self.codes[kind, version] = len(self.model.operatorCodes) - 1
        return self.codes[kind, version]

    def signature(self, signature: Signature, indices: dict[Tensor, int]) -> Any:
        made = self.schema.SignatureDefT()
        made.signatureKey = signature.key
        made.subgraphIndex = len(self.model.subgraphs) - 1
        made.inputs = [self.named(n, indices[t]) for n, t in signature.inputs.items()]
        made.outputs = [self.named(n, indices[t]) for n, t in signature.outputs.items()]
        return made

    def named(self, name: str, index: int) -> Any:
        made = self.schema.TensorMapT()
        made.name, made.tensorIndex = name, index
        return made


def unpacked(source_map: bytes) -> dict[str, list[list[str]]]:
    """What the metadata `SOURCE_MAP` says: the ONNX nodes of every operator of each signature."""
    found: dict[str, list[list[str]]] = json.loads(bz2.decompress(source_map))
    return found


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _short_names(taken: set[str]) -> Iterator[str]:
    """Names for tensors that nobody asks for by name: t0 to t9z take eight bytes, t100 would take twelve."""
    return (name for i in itertools.count() if (name := f"t{np.base_repr(i, 36).lower()}") not in taken)


def _bytes(data: Array) -> Array:
    """What is written of a constant: two numbers of 4 bits per byte, the first in the lower half."""
    if data.dtype.name != "int4":
        return data
    nibbles = data.astype(np.int8).ravel().view(np.uint8) & 15
    nibbles = np.pad(nibbles, (0, nibbles.size % 2))
    return nibbles[::2] | (nibbles[1::2] << 4)
