"""The only reader and writer of annotations: one record of each kind on a model, node or value."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import Any, TypeVar

from edgecut.ir import typed
from edgecut.ir.annotations.base import Annotated, Annotation
from edgecut.ir.errors import ModelError

SCHEMA = "1"
"""Version of all records, kept on the model."""
SCHEMA_KEY = "edgecut.schema"
PREFIX = "edgecut."

A = TypeVar("A", bound=Annotation)


def get(owner: Annotated, cls: type[A]) -> A | None:
    """The record of this kind on a model, node or value, or None.

    Raises:
        ModelError: The property is there but does not parse.
    """
    text = owner.metadata_props.get(cls.KEY)
    return None if text is None else _parse(owner, cls, text)


def require(owner: Annotated, cls: type[A], hint: str) -> A:
    """Like `get`, but its absence is an error.

    Raises:
        ModelError: It is not there; ``hint`` says which pass makes it.
    """
    found = get(owner, cls)
    if found is None:
        raise ModelError(f"has no {cls.KEY} annotation", where=_name(owner), hint=hint)
    return found


def put(owner: Annotated, record: Annotation) -> None:
    """Set a record, in place of an older one of its kind."""
    owner.metadata_props[record.KEY] = typed.dumps(record)


def drop(owner: Annotated, cls: type[Annotation]) -> None:
    """Remove the record of this kind, if there is one."""
    owner.metadata_props.pop(cls.KEY, None)


def records(owner: Annotated) -> dict[str, Any]:
    """All edgecut records on this model, node or value, by key."""
    found = {k: v for k, v in owner.metadata_props.items() if k.startswith(PREFIX) and k != SCHEMA_KEY}
    return {key: _parse(owner, _class(owner, key), text) for key, text in sorted(found.items())}


def copy(source: Annotated, destination: Annotated) -> None:
    """Copy all edgecut records, over those that ``destination`` has."""
    own = {k: v for k, v in source.metadata_props.items() if k.startswith(PREFIX)}
    destination.metadata_props.update(own)


def _class(owner: Annotated, key: str) -> type[Annotation]:
    found = next((cls for cls in kinds() if key == cls.KEY), None)
    if found is None:
        raise ModelError(f"unknown annotation {key}", where=_name(owner))
    return found


@functools.cache
def kinds() -> tuple[type[Annotation], ...]:
    """All kinds of records, from the modules beside this one."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
    return tuple(cls for cls in Annotation.__subclasses__() if cls.__module__.startswith(package))


def _parse(owner: Annotated, cls: type[A], text: str) -> A:
    try:
        return typed.loads(cls, text)
    except ValueError as error:
        raise ModelError(f"annotation {cls.KEY} does not parse: {error}", where=_name(owner)) from error


def _name(owner: Annotated) -> str:
    return getattr(owner, "name", None) or "the model"
