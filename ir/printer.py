"""A program as text for people, and as data for machines. `onnx_ir` prints no annotations; this does."""

from dataclasses import asdict
from typing import Any

import onnx_ir as oir

from edgecut.ir import annotations, typed
from edgecut.ir.annotations import CloudOnly, Cost, Group, Placement, Wire
from edgecut.ir.extract import is_constant
from edgecut.ir.program import Program, tensor_spec


def describe(program: Program) -> dict[str, Any]:
    """The program as plain JSON data: inputs, outputs, nodes and all annotations."""
    return {
        "name": program.graph.name,
        "opset": program.graph.opset_imports.get("", 0),
        "weight_bytes": program.weight_bytes(),
        "inputs": [asdict(spec) for spec in program.inputs],
        "outputs": [asdict(spec) for spec in program.outputs],
        "annotations": _records(program.model),
        "nodes": [_describe_node(node) for node in program.nodes],
        "values": {n: _records(v) for n, v in program.values().items() if _records(v)},
    }


def text(program: Program) -> str:
    """The program as aligned text: one line per node, with time, side and quantization beside it."""
    head = [f"{program.graph.name or 'model'}  opset {program.graph.opset_imports.get('', 0)}"]
    head += [f"  input   {_type_text(v)}" for v in program.graph.inputs if not v.is_initializer()]
    head += [f"  output  {_type_text(v)}" for v in program.graph.outputs]
    for step in _steps(program):
        head.append(f"  pass    {step.text}{_metrics(step.metrics)}")
        head += [f"          warning: {message}" for message in step.warnings]
    rows = [_row(node) for node in program.nodes]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)) for row in rows]
    tails = [row[4] for row in rows]
    body = [f"{line}  {tail}".rstrip() for line, tail in zip(lines, tails, strict=True)]
    return "\n".join([*head, "", *body])


def seconds(value: float | None) -> str:
    """A time in the unit that suits it."""
    if value is None:
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if value * scale >= 1 or unit == "us":
            return f"{value * scale:.3g} {unit}"
    return ""


def size(count: float) -> str:
    """A number of bytes in the unit that suits it."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def bandwidth_range(low: float, high: float | None) -> str:
    """Between which uplink bandwidths (Mbit/s) a cut is the best one, in words."""
    if high is None:
        return f"{low:.3g} Mbit/s and up"
    return f"{low:.3g} and {high:.3g} Mbit/s" if high else "nowhere"


def _describe_node(node: oir.Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "op": node.op_identifier()[1],
        "inputs": [v.name if v is not None else "" for v in node.inputs],
        "outputs": [asdict(tensor_spec(v)) for v in node.outputs],
        "annotations": _records(node),
    }


def _records(owner: annotations.Annotated) -> dict[str, Any]:
    return {key: typed.encode(record) for key, record in annotations.records(owner).items()}


def _steps(program: Program) -> tuple[annotations.Step, ...]:
    found = annotations.get(program.model, annotations.History)
    return found.steps if found else ()


def _metrics(metrics: dict[str, float | str]) -> str:
    shown = [f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in metrics.items()]
    return f"   ({', '.join(shown)})" if shown else ""


def _row(node: oir.Node) -> tuple[str, str, str, str, str]:
    outputs = ", ".join(_type_text(v) for v in node.outputs if v.name)
    arguments = ", ".join(v.name or "" for v in node.inputs if v is not None and not is_constant(v))
    return (_side(node), _times(node), outputs, f"= {node.op_type}({arguments})", _notes(node))


def _side(node: oir.Node) -> str:
    placement = annotations.get(node, Placement)
    return placement.side if placement else "."


def _times(node: oir.Node) -> str:
    cost = annotations.get(node, Cost)
    if cost is None:
        return ""
    both = (cost.edge, cost.cloud)
    return " | ".join(seconds(t.seconds) + _mark(t) if t else "-" for t in both)


def _mark(time: annotations.Time) -> str:
    return "" if time.source == "measured" else "~"


def _notes(node: oir.Node) -> str:
    notes = []
    cloud_only = annotations.get(node, CloudOnly)
    if cloud_only:
        notes.append(f"cloud only: {cloud_only.reason}")
    group = annotations.get(node, Group)
    if group and group.id != node.name:
        notes.append(f"with {group.id}")
    wires = [annotations.get(v, Wire) for v in node.outputs]
    notes += [f"crosses as {w.dtype}{list(w.shape)}" for w in wires if w]
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        notes.append(_quantization(node))
    return "; ".join(note for note in notes if note)


def _quantization(node: oir.Node) -> str:
    constants = [
        v.const_value.numpy() for v in node.inputs[1:] if v is not None and v.const_value is not None
    ]
    if not constants:
        return ""
    if constants[0].size > 1:
        return f"{constants[0].size} scales"
    zero = int(constants[1].reshape(-1)[0]) if len(constants) > 1 else 0
    return f"scale {float(constants[0].reshape(-1)[0]):.4g}, zero point {zero}"


def _type_text(value: oir.Value) -> str:
    spec = tensor_spec(value)
    dims = ",".join("?" if d is None else str(d) for d in spec.shape)
    return f"{spec.name}: {spec.dtype}[{dims}]"
