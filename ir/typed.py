"""Dataclasses to JSON and back, strictly: the one codec of annotations, profiles, targets and manifests.

Standard library only, and Python 3.9: the device runtime reads its manifest with it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from typing import Any, Optional, TypeVar, Union

T = TypeVar("T")

_UNIONS = (Union, getattr(types, "UnionType", Union))


def dumps(value: Any, *, indent: Optional[int] = None) -> str:
    """Serialize a dataclass (or plain JSON data) to deterministic JSON text.

    Raises:
        ValueError: A float in it is not finite (JSON has no NaN or infinity).
    """
    separators = (",", ": ") if indent else (",", ":")
    return json.dumps(encode(value), indent=indent, separators=separators, allow_nan=False)


def loads(cls: type[T], text: str) -> T:
    """Parse JSON text into ``cls``.

    Raises:
        ValueError: The text is no JSON or does not fit ``cls``; the message names the place.
    """
    found: T = decode(cls, json.loads(text))
    return found


def encode(value: Any) -> Any:
    """Turn a dataclass into plain JSON data; fields that equal their default are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(v) for f, v in _set_fields(value)}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    if isinstance(value, dict):
        return {str(k): encode(v) for k, v in value.items()}
    return value


def decode(cls: Any, data: Any, where: str = "$") -> Any:
    """Turn plain JSON data into ``cls``: a dataclass, or any type that its fields may have.

    Raises:
        ValueError: The data does not fit; the message begins with the JSON path of the culprit.
    """
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    if cls is Any:
        return data
    if origin in _UNIONS:
        return _decode_union(args, data, where)
    if origin is typing.Literal:
        return _require(data in args, data, where, f"one of {', '.join(map(str, args))}", data)
    if origin in (list, tuple):
        return _decode_sequence(origin, args, data, where)
    if origin is dict:
        _require(isinstance(data, dict), data, where, "an object")
        return {k: decode(args[1], v, f"{where}.{k}") for k, v in data.items()}
    if dataclasses.is_dataclass(cls):
        return _decode_dataclass(cls, data, where)
    return _decode_scalar(cls, data, where)


def schema(cls: type) -> dict[str, Any]:
    """Describe ``cls`` as a JSON Schema (draft 2020-12), nested dataclasses under ``$defs``."""
    defs: dict[str, Any] = {}
    root = _schema(cls, defs)
    body = defs.pop(cls.__name__) if "$ref" in root else root
    out = {"$schema": "https://json-schema.org/draft/2020-12/schema", **body}
    return {**out, "$defs": dict(sorted(defs.items()))} if defs else out


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """Resolved type hints of a dataclass's fields, in order."""
    resolved = typing.get_type_hints(cls)
    return {f.name: resolved[f.name] for f in dataclasses.fields(cls)}


def _set_fields(value: Any) -> list[tuple[Any, Any]]:
    pairs = [(f, getattr(value, f.name)) for f in dataclasses.fields(value)]
    return [(f, v) for f, v in pairs if not _is_default(f, v)]


def _is_default(field: Any, value: Any) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(value == field.default)
    return field.default_factory is not dataclasses.MISSING and value == field.default_factory()


def _require(ok: bool, data: Any, where: str, expected: str, result: Any = None) -> Any:
    if not ok:
        shown = json.dumps(data, default=str)
        raise ValueError(f"{where}: expected {expected}, got {shown[:60]}")
    return result


def _decode_union(args: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in args:
        return None
    options = [a for a in args if a is not type(None)]
    for option in options[:-1]:
        try:
            return decode(option, data, where)
        except ValueError:
            continue
    return decode(options[-1], data, where)


def _decode_sequence(origin: type, args: tuple[Any, ...], data: Any, where: str) -> Any:
    _require(isinstance(data, (list, tuple)), data, where, "an array")
    fixed = origin is tuple and Ellipsis not in args
    _require(not fixed or len(data) == len(args), data, where, f"{len(args)} items")
    types_ = args if fixed else (args[0],) * len(data)
    return origin(decode(t, v, f"{where}[{i}]") for i, (t, v) in enumerate(zip(types_, data)))


def _decode_dataclass(cls: Any, data: Any, where: str) -> Any:
    _require(isinstance(data, dict), data, where, "an object")
    known = hints(cls)
    unknown = sorted(set(data) - set(known))
    _require(not unknown, data, where, f"only the keys {', '.join(known)}; not {', '.join(unknown)}")
    values = {name: decode(known[name], value, f"{where}.{name}") for name, value in data.items()}
    missing = [f.name for f in dataclasses.fields(cls) if f.name not in values and _is_required(f)]
    _require(not missing, data, where, f"the key {', '.join(missing)}")
    return cls(**values)


def _is_required(field: Any) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _decode_scalar(cls: Any, data: Any, where: str) -> Any:
    names = {bool: "true or false", int: "an integer", float: "a finite number", str: "a string"}
    if cls is float:
        number = isinstance(data, (int, float)) and not isinstance(data, bool) and math.isfinite(data)
        return float(_require(number, data, where, names[cls], data))
    if cls in names:
        exact = isinstance(data, cls) and (cls is bool or not isinstance(data, bool))
        return _require(exact, data, where, names[cls], data)
    if cls is type(None):
        return _require(data is None, data, where, "null")
    raise TypeError(f"{where}: no JSON form for {cls!r}")


def _schema(cls: Any, defs: dict[str, Any]) -> dict[str, Any]:
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    scalars = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    if cls is Any:
        return {}
    if cls in scalars:
        return {"type": scalars[cls]}
    if origin in _UNIONS:
        return {"anyOf": [_schema(a, defs) for a in args]}
    if origin is typing.Literal:
        return {"enum": list(args)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1], defs)}
    if origin is tuple and Ellipsis not in args:
        items = [_schema(a, defs) for a in args]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin in (list, tuple):
        return {"type": "array", "items": _schema(args[0], defs)}
    return _schema_dataclass(cls, defs)


def _schema_dataclass(cls: Any, defs: dict[str, Any]) -> dict[str, Any]:
    ref = {"$ref": f"#/$defs/{cls.__name__}"}
    if cls.__name__ in defs:
        return ref
    defs[cls.__name__] = {}
    summary = (cls.__doc__ or "").strip().splitlines()
    defs[cls.__name__] = {
        "type": "object",
        "description": summary[0] if summary else cls.__name__,
        "properties": {name: _schema(hint, defs) for name, hint in hints(cls).items()},
        "required": [f.name for f in dataclasses.fields(cls) if _is_required(f)],
        "additionalProperties": False,
    }
    return ref
