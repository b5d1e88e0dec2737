"""What differs between two programs, node by node and annotation by annotation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecut.ir.printer import describe
from edgecut.ir.program import Program


@dataclass(frozen=True)
class Difference:
    """One place where two programs differ; ``before`` or ``after`` is None where it is absent."""

    place: str
    before: str | None
    after: str | None


def diff(before: Program, after: Program) -> list[Difference]:
    """All differences between two programs, in the order of the first one's graph."""
    left, right = _flat(before), _flat(after)
    places = [*left, *(p for p in right if p not in left)]
    return [Difference(p, left.get(p), right.get(p)) for p in places if left.get(p) != right.get(p)]


def _flat(program: Program) -> dict[str, str]:
    """Every fact of a program as one line of text under the name of its place."""
    data = describe(program)
    facts: dict[str, str] = {f"opset {data['opset']}": ""}
    facts.update({f"input {s['name']}": _type(s) for s in data["inputs"]})
    facts.update({f"output {s['name']}": _type(s) for s in data["outputs"]})
    for key, record in data["annotations"].items():
        facts.update(_fields(key, record))
    for node in data["nodes"]:
        place = f"node {node['name']}"
        outputs = ", ".join(f"{s['name']}: {_type(s)}" for s in node["outputs"])
        facts[place] = f"{outputs} = {node['op']}({', '.join(node['inputs'])})"
        for key, record in node["annotations"].items():
            facts.update(_fields(f"{place} {key}", record))
    for name, records in data["values"].items():
        for key, record in records.items():
            facts.update(_fields(f"tensor {name} {key}", record))
    for node in program.nodes:
        facts.update({f"node {node.name} .{k}": str(a.value)[:80] for k, a in node.attributes.items()})
    facts.update({f"weight {n}": _weight(v.const_value) for n, v in program.graph.initializers.items()})
    return facts


def _type(spec: dict[str, Any]) -> str:
    return f"{spec['dtype']}[{','.join(map(str, spec['shape']))}]"


def _fields(place: str, record: Any) -> dict[str, str]:
    if isinstance(record, dict) and record:
        return {k: v for key, value in record.items() for k, v in _fields(f"{place}.{key}", value).items()}
    if isinstance(record, list) and any(isinstance(item, (dict, list)) for item in record):
        return {k: v for i, value in enumerate(record) for k, v in _fields(f"{place}[{i}]", value).items()}
    return {place: str(record)}


def _weight(tensor: Any) -> str:
    array = np.ascontiguousarray(tensor.numpy())
    digest = hashlib.sha256(array.tobytes()).hexdigest()[:12]
    return f"{array.dtype.name}[{','.join(map(str, array.shape))}] sha256 {digest}"
