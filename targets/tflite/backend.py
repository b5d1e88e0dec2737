"""Program and cuts -> TFLite file: lowered once, then one signature per cut that has work for the edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from edgecut.ir import annotations as notes
from edgecut.ir.errors import ConstraintError, ModelError
from edgecut.ir.program import Program
from edgecut.targets.tflite import (
    affine,
    dynamic,
    faults,
    fuse,
    groups,
    heads,
    importer,
    layout,
    lir,
    pack,
    patterns,
    quantize,
    reshapes,
    shuffles,
    stored,
    taps,
)
from edgecut.targets.tflite.groups import FusionGroup
from edgecut.targets.tflite.lir import Graph, Tensor

if TYPE_CHECKING:
    from edgecut.ir.annotations import Cut, Wire

WHOLE = "serving_default"
"""Name of the signature of a model that is not cut, as other converters have it."""


@dataclass(frozen=True)
class Emitted:
    """A TFLite file and what its users must know."""

    data: bytes
    """The file; empty where no cut has work for the edge."""
    wire: dict[str, Wire] = field(default_factory=dict)
    """How every crossing tensor is held, by the name of its value."""
    signatures: dict[int, str] = field(default_factory=dict)
    """Signature of each cut that has one, by the cut's index."""
    source_map: dict[str, list[list[str]]] = field(default_factory=dict)
    """For each signature, the ONNX nodes of every operator in the order of execution."""


@dataclass(frozen=True)
class Lowered:
    """A program as TFLite operators."""

    graph: Graph
    reasons: dict[str, str]
    """Why nodes cannot be lowered, by their names."""


def lower(program: Program) -> Lowered:
    """The whole back end but for the file format."""
    imported = importer.run(program)
    patterns.run(imported.graph)
    affine.run(imported.graph)
    heads.run(imported.graph)
    reshapes.run(imported.graph)
    graph = layout.run(imported.graph)
    fuse.run(graph)
    quantize.run(graph)
    shuffles.run(graph)
    taps.run(graph)
    stored.run(graph, dynamic=_is_dynamic(program))
    faults.run(graph)
    return Lowered(graph, imported.reasons)


def _is_dynamic(program: Program) -> bool:
    found = notes.get(program.model, notes.Quantization)
    return found is not None and found.scheme == "int8-dynamic"


def spelled(program: Program, kind: str) -> list[frozenset[str]]:
    """See `edgecut.targets.tflite.spelled`."""
    imported = importer.run(program)
    patterns.run(imported.graph)
    return [op.sources for op in imported.graph.order() if op.kind == kind]


def fusion_groups(program: Program) -> list[FusionGroup]:
    """See `edgecut.targets.tflite.fusion_groups`."""
    return groups_of(program, lower(program))


def groups_of(program: Program, lowered: Lowered) -> list[FusionGroup]:
    """The fusion groups of a program that is lowered already."""
    return groups.find(program, lowered.graph.order(), lowered.reasons)


def emit(program: Program, cuts: Sequence[Cut], batches: tuple[Program, Program] | None = None) -> Emitted:
    """See `edgecut.targets.tflite.emit`."""
    from edgecut.ir import coded

    program, cuts = coded.with_encoders(program, cuts)
    inputs = {spec.name for spec in program.inputs}
    crossing = list(dict.fromkeys(n for c in cuts for n in c.crossing if n not in inputs))
    lowered = lower(program) if batches is None else _opened(batches, crossing)
    wanted = {i: _outputs(cut, inputs) for i, cut in enumerate(cuts)}
    signatures = [signature(program, lowered, f"cut{i}", names) for i, names in wanted.items() if names]
    if not signatures:
        return Emitted(b"")
    data = _packed(program, signatures, {"cuts": [c.name for c in cuts]})
    wire = {name: _wire(lowered.graph, name) for name in crossing}
    return Emitted(data, wire, {i: f"cut{i}" for i, names in wanted.items() if names}, source_map(data))


def convert(program: Program, batches: tuple[Program, Program] | None = None) -> bytes:
    """See `edgecut.targets.tflite.convert`."""
    lowered = lower(program) if batches is None else _opened(batches)
    names = [spec.name for spec in program.outputs]
    return _packed(program, [signature(program, lowered, WHOLE, names)], {})


def side_by_side(programs: Mapping[str, Program]) -> bytes:
    """See `edgecut.targets.tflite.side_by_side`."""
    signatures = [
        signature(program, lower(program), key, [spec.name for spec in program.outputs])
        for key, program in programs.items()
    ]
    return pack.pack(signatures, {}, {})


def _opened(batches: tuple[Program, Program], crossing: Sequence[str] = ()) -> Lowered:
    """A program lowered for any batch; crossing values have to hold their samples one after the other.

    Raises:
        ConstraintError: The batch is baked into a node, or a crossing value has it elsewhere.
    """
    first, second = (lower(p) for p in batches)
    graph = dynamic.opened(first.graph, second.graph, crossing)
    for name in crossing:
        tensor = graph.values.get(name)
        if tensor is not None and (
            tensor.shape[:1] != (1,) or tensor.open != (True, *[False] * (tensor.rank - 1))
        ):
            raise ConstraintError("crosses with its samples not along the first dimension", where=name)
    return Lowered(graph, first.reasons)


def _packed(program: Program, signatures: Sequence[pack.Signature], facts: dict[str, list[str]]) -> bytes:
    rank = {n.name or "": i for i, n in enumerate(program.nodes)}
    build = {"edgecut": version("edgecut"), "model": program.graph.name or "", **facts}
    return pack.pack(signatures, build, rank)


def source_map(data: bytes) -> dict[str, list[list[str]]]:
    """See `edgecut.targets.tflite.source_map`."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data)
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == pack.SOURCE_MAP.encode():
            return pack.unpacked(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    raise ModelError("holds no source map", hint="only files that edgecut wrote have one")


def _outputs(cut: Cut, inputs: set[str]) -> list[str]:
    """What the edge computes under a cut; an input that crosses is sent as it came."""
    return [
        n
        for n in dict.fromkeys((*cut.edge_outputs, *cut.crossing))
        if n not in inputs or n in cut.edge_outputs
    ]


def signature(
    program: Program, lowered: Lowered, key: str, names: Sequence[str], given: Sequence[str] = ()
) -> pack.Signature:
    """The part of a lowered program that computes some values from its inputs, and from ``given`` values.

    Raises:
        ConstraintError: A node that it takes cannot be lowered.
    """
    graph = lowered.graph
    specs = [spec.name for spec in program.inputs]
    missing = [n for n in (*specs, *names) if n not in graph.values]
    if missing:
        what = lowered.reasons.get(
            _maker(program, missing[0]), "it has no static shape, or a type that TFLite has not"
        )
        raise ConstraintError(
            f"cannot run on the edge: {what}", where=_maker(program, missing[0]) or missing[0]
        )
    inputs = {name: graph.inputs[name] for name in specs} | {name: graph.values[name] for name in given}
    outputs: dict[str, Tensor] = {}
    for name in names:
        tensor = graph.values[name]
        if tensor in inputs.values() or tensor in outputs.values() or tensor.is_constant:
            tensor = _copied(tensor, _maker(program, name))
        outputs[name] = tensor
    _check_inputs(program, lowered, inputs, outputs)
    return pack.Signature(key, inputs, outputs)


def _copied(tensor: Tensor, node: str) -> Tensor:
    """The same numbers as a tensor of its own: TFLite wants each output made by an operator."""
    sizes = [
        -1 if opened else n
        for n, opened in zip(tensor.shape, tensor.open or [False] * tensor.rank, strict=True)
    ]
    shape, options = lir.integers(sizes), {"newShape": sizes}
    (out,) = lir.emit(
        "RESHAPE", [tensor, shape], [tensor.shape], [tensor.dtype], frozenset({node} - {""}), options
    )
    out.quant, out.open = tensor.quant, tensor.open
    return out


def _check_inputs(
    program: Program, lowered: Lowered, inputs: dict[str, Tensor], outputs: dict[str, Tensor]
) -> None:
    """Refuse a signature that would need the result of a node that cannot be lowered."""
    known = set(inputs.values())
    foreign = {t: n for n, t in lowered.graph.inputs.items() if t not in known}
    for op in lir.order(outputs.values(), stop=known):
        for tensor in op.inputs:
            if tensor in foreign:
                node = _maker(program, foreign[tensor])
                raise ConstraintError(f"cannot run on the edge: {lowered.reasons.get(node, '')}", where=node)
    for tensor in outputs.values():
        if tensor in foreign:
            node = _maker(program, foreign[tensor])
            raise ConstraintError(f"cannot run on the edge: {lowered.reasons.get(node, '')}", where=node)


def _maker(program: Program, name: str) -> str:
    producer = program.value(name).producer()
    return (producer.name or "") if producer is not None else ""


def _wire(graph: Graph, name: str) -> Wire:
    tensor = graph.values[name]
    return notes.Wire(tensor.dtype.name, tensor.shape, graph.perms.get(name, ()))
