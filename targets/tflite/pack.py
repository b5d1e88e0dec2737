"""The graph as a TFLite flatbuffer: one subgraph and signature per part, constants stored once."""

from __future__ import annotations

import bz2
import functools
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edgecut.ir.errors import ModelError
from edgecut.targets.tflite import flat, lir
from edgecut.targets.tflite.lir import Array, Op, Quant, Tensor

SOURCE_MAP = "edgecut.source_map"
"""JSON under bzip2, which has one implementation and so gives the same bytes everywhere."""
BUILD = "edgecut.build"
LIMIT = (1 << 31) - (1 << 20)
"""Offsets in a flatbuffer are signed 32-bit numbers."""

# Options tables whose name is not that of their operator.
_OPTIONS = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), "Pool2DOptions"),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), "ReducerOptions"),
    **dict.fromkeys(("REDUCE_ANY", "REDUCE_ALL"), "ReducerOptions"),
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    "CUMSUM": "CumsumOptions",
    "PADV2": "PadV2Options",
    "SELECT_V2": "SelectV2Options",
    "TOPK_V2": "TopKV2Options",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "BidirectionalSequenceLSTMOptions",
    "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalizationOptions",
    "L2_NORMALIZATION": "L2NormOptions",
}  # fmt: skip
_TYPES = {
    "float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9,
    "float64": 10, "uint32": 15, "uint16": 16, "int4": 17,
}  # fmt: skip
# How a WHILE names its subgraphs.
_PARTS = ("condSubgraphIndex", "bodySubgraphIndex")
# Lowest operator version that has what we use; runtimes refuse lower ones for quantized tensors.
_VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 5, "BATCH_MATMUL": 3, "BROADCAST_TO": 2,
    "TRANSPOSE_CONV": 4,
}  # fmt: skip
# The same where they read or write integers of 16 bits.
_WIDE = {
    "CONV_2D": 4, "DEPTHWISE_CONV_2D": 5, "FULLY_CONNECTED": 7, "ADD": 3, "SUB": 5, "MUL": 4, "QUANTIZE": 2,
    "DEQUANTIZE": 3, "MAX_POOL_2D": 3, "TRANSPOSE": 5, "SPLIT": 4, "SLICE": 4, "GATHER": 4, "PAD": 3,
    "PADV2": 3, "MIRROR_PAD": 3, "CONCATENATION": 3, "MEAN": 3, "REDUCE_MAX": 3, "REDUCE_MIN": 3,
    "LEAKY_RELU": 2, "RESIZE_NEAREST_NEIGHBOR": 4,
}  # fmt: skip
# And where they say how wide their sums are.
_BIASED = {"CONV_2D": 8, "FULLY_CONNECTED": 11}


class _Shared:
    """A table that many operators refer to, and that is written once."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self.place: int | None = None

    def Pack(self, builder: Any) -> int:  # noqa: N802 (the generated classes call it so)
        if self.place is None:
            self.place = self.table.Pack(builder)
        return self.place


class _Grids:
    """Tables of quantization parameters. Equal ones, and equal vectors in them, are written once.

    Per channel there is a zero point of 8 bytes beside a scale of 4, and nearly all zero points are zero.
    """

    def __init__(self) -> None:
        self.tables: dict[tuple[bytes, bytes, int], int] = {}
        self.scales: dict[bytes, int] = {}
        self.zeros: dict[bytes, int] = {}
        self.layouts = {
            False: flat.Layout(offsets=(2, 3), words=(), octets=()),
            True: flat.Layout(offsets=(2, 3), words=(6,), octets=()),
        }
        """By whether the axis is another than 0, which need not be said."""

    def place(self, builder: Any, grid: Quant) -> int:
        scale = np.asarray(grid.scale, "<f4").tobytes()
        zero = np.asarray(grid.zero, "<i8").tobytes()
        if (scale, zero, grid.axis) not in self.tables:
            if scale not in self.scales:
                self.scales[scale] = flat.floats(builder, scale)
            if zero not in self.zeros:
                self.zeros[zero] = flat.longs(builder, zero)
            vectors = [self.scales[scale], self.zeros[zero]]
            axis = (grid.axis,) if grid.axis else ()
            place = self.layouts[bool(axis)].write(builder, vectors, axis, ())
            self.tables[scale, zero, grid.axis] = place
        return self.tables[scale, zero, grid.axis]


class _Vectors:
    """Vectors of int32, those of the same numbers written once: shapes, and what operators read and make."""

    def __init__(self) -> None:
        self.places: dict[tuple[int, ...], int] = {}

    def place(self, builder: Any, numbers: tuple[int, ...]) -> int:
        if numbers not in self.places:
            self.places[numbers] = flat.integers(builder, numbers)
        return self.places[numbers]


class _Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]
    type: int
    buffer: int
    signature: tuple[int, ...] | None
    quantization: Quant | None


class _Operator(NamedTuple):
    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: int
    options: _Shared | None


class _Subgraph(NamedTuple):
    """A subgraph that writes itself, as the generated classes do. Slots are those of the schema."""

    name: str
    tensors: list[_Tensor]
    operators: list[_Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    grids: _Grids
    vectors: _Vectors

    def Pack(self, builder: Any) -> int:  # noqa: N802 (the generated classes call it so)
        tensors = flat.places(builder, self._tensors(builder))
        operators = flat.places(builder, self._operators(builder))
        ends = [self.vectors.place(builder, numbers) for numbers in (self.inputs, self.outputs)]
        name = flat.text(builder, self.name)
        layout = flat.Layout(offsets=(0, 1, 2, 3, 4), words=(), octets=())
        return layout.write(builder, [tensors, *ends, operators, name], (), ())

    def _tensors(self, builder: Any) -> list[int]:
        """Tables without what readers take for granted: buffer 0 (nothing stored), type 0 (float32)."""
        layouts: dict[tuple[Sequence[int], ...], flat.Layout] = {}
        found = []
        for item in self.tensors:
            targets = {3: flat.text(builder, item.name)}
            for slot, shape in ((0, item.shape), (7, item.signature)):
                if shape is not None:
                    targets[slot] = self.vectors.place(builder, shape)
            if item.quantization is not None:
                targets[4] = self.grids.place(builder, item.quantization)
            words = {2: item.buffer} if item.buffer else {}
            # Without a shape, a scalar is told from a tensor of unknown rank by the last octet alone.
            octets = {1: item.type, 8: 1} if item.type or not item.shape else {}
            slots = (tuple(targets), tuple(words), tuple(octets))
            if slots not in layouts:
                layouts[slots] = flat.Layout(*slots)
            numbers = (fields.values() for fields in (targets, words, octets))
            found.append(layouts[slots].write(builder, *map(tuple, numbers)))
        return found

    def _operators(self, builder: Any) -> list[int]:
        plain = flat.Layout(offsets=(1, 2), words=(0,), octets=())
        optional = flat.Layout(offsets=(1, 2, 4), words=(0,), octets=(3,))
        found = []
        for op in self.operators:
            targets = [self.vectors.place(builder, numbers) for numbers in (op.inputs, op.outputs)]
            if op.options is None:
                found.append(plain.write(builder, targets, (op.code,), ()))
                continue
            targets.append(op.options.Pack(builder))
            found.append(optional.write(builder, targets, (op.code,), (op.options_type,)))
        return found


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
        self.buffers: dict[bytes, int] = {}
        self.codes: dict[tuple[str, int], int] = {}
        self.options: dict[str, _Shared] = {}
        self.parts: list[lir.Part] = []
        self.before_parts = 0
        self.grids = _Grids()
        self.vectors = _Vectors()
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
        return bytes(builder.Output())

    def metadata(self, name: str, content: bytes) -> None:
        entry = self.schema.MetadataT()
        entry.name = name
        entry.buffer = self.buffer(np.frombuffer(content, np.uint8))
        self.model.metadata.append(entry)

    def buffer(self, data: Array) -> int:
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)  # without a copy, in most cases
        key = hashlib.sha256(raw.data).digest()
        if key not in self.buffers:
            buffer = self.schema.BufferT()
            buffer.data = raw
            self.model.buffers.append(buffer)
            self.buffers[key] = len(self.model.buffers) - 1
            self.bytes += raw.nbytes
        return self.buffers[key]

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
        graph = _Subgraph(signature.key, tensors, operators, inputs, outputs, self.grids, self.vectors)
        self.model.subgraphs.append(graph)
        return ops, indices

    def tensor(self, tensor: Tensor, name: str) -> _Tensor:
        stored = tensor.data is not None and tensor.data.size
        buffer = self.buffer(_bytes(tensor.data)) if tensor.data is not None and stored else 0
        signature = None
        if any(tensor.open):
            pairs = zip(tensor.shape, tensor.open, strict=True)
            signature = tuple(-1 if is_open else n for n, is_open in pairs)
        return _Tensor(name, tensor.shape, _type(tensor.dtype), buffer, signature, tensor.quant)

    def operator(self, op: Op, indices: dict[Tensor, int]) -> _Operator:
        inputs = tuple(-1 if t is None else indices[t] for t in op.inputs)
        outputs = tuple(indices[t] for t in op.outputs)
        name = _options_name(op.kind)
        table = getattr(self.schema, f"{name}T", None)
        kind, options = 0, None
        if table is not None:
            numbers = dict(zip(_PARTS, map(self.number, op.parts), strict=True)) if op.parts else op.options
            kind, options = getattr(self.schema.BuiltinOptions, name), self.shared(name, table, numbers)
        return _Operator(self.code(op.kind, _version(op)), inputs, outputs, kind, options)

    def shared(self, name: str, table: Any, options: dict[str, Any]) -> _Shared:
        """The options of an operator; those of the same numbers are one table in the file."""
        key = f"{name} {sorted(options.items())}"
        if key not in self.options:
            made = table()
            for field, value in options.items():
                assert hasattr(made, field), f"{name} has no {field}"
                setattr(made, field, value)
            self.options[key] = _Shared(made)
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


def _version(op: Op) -> int:
    """The lowest version of an operator that does what this one does."""
    if "quantizedBiasType" in op.options:
        return _BIASED[op.kind]
    tensors = [t for t in (*op.inputs, *op.outputs) if t is not None]
    wide = any(t.quant is not None and t.dtype == np.int16 for t in tensors)
    least = _VERSIONS.get(op.kind, 1)
    return _WIDE.get(op.kind, least) if wide else least


def unpacked(source_map: bytes) -> dict[str, list[list[str]]]:
    """What the metadata `SOURCE_MAP` says: the ONNX nodes of every operator of each signature."""
    found: dict[str, list[list[str]]] = json.loads(bz2.decompress(source_map))
    return found


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _short_names(taken: set[str]) -> Iterator[str]:
    """Names for tensors that nobody asks for by name: t0 to t9z take eight bytes, t100 would take twelve."""
    return (name for i in itertools.count() if (name := f"t{np.base_repr(i, 36).lower()}") not in taken)


@functools.cache
def _type(dtype: np.dtype[Any]) -> int:
    """The number of a type in the schema."""
    return _TYPES[dtype.name]


def _bytes(data: Array) -> Array:
    """What is written of a constant: two numbers of 4 bits per byte, the first in the lower half."""
    if data.dtype.name != "int4":
        return data
    nibbles = data.astype(np.int8).ravel().view(np.uint8) & 15
    nibbles = np.pad(nibbles, (0, nibbles.size % 2))
    return nibbles[::2] | (nibbles[1::2] << 4)


@functools.cache
def _options_name(kind: str) -> str:
    if kind in _OPTIONS:
        return _OPTIONS[kind]
    return (
        "".join(part.capitalize() for part in kind.split("_")).replace("2d", "2D").replace("Conv2D", "Conv2D")
        + "Options"
    )
