"""The textual form of pipelines: ``import{model=m.onnx},simplify,quantize{scheme=int8}``.

A value is a bare word, a JSON string, or a list ``[a,b]``; true, false and none are words. Text that
`unparse` prints parses back to the same passes.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

from edgecut.ir.errors import UsageError
from edgecut.passes.base import Pass

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_WORD = re.compile(r"[^\s,{}\[\]=\"]+")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SPACE = re.compile(r"\s*")

Raw = str | list["Raw"]


class Quoted(str):
    """A string that stood in quotes, and so is no word such as ``none``."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One pass of a pipeline text: its name, and its options as text."""

    name: str
    options: dict[str, Raw]


def parse(text: str) -> list[Call]:
    """Split a pipeline text into calls.

    Raises:
        UsageError: The text does not follow the grammar; the message gives the column.
    """
    return _Parser(text).pipeline()


def bind(cls: type[Pass], options: dict[str, Raw]) -> Pass:
    """Make a pass from textual options.

    Raises:
        UsageError: An option is unknown, missing, or of the wrong type.
    """
    known = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for key in options:
        if key not in known:
            have = ", ".join(known) or "none"
            raise UsageError(f"pass {cls.name} has no option {key!r}", hint=f"it has: {have}")
    values = {k: convert(hints[k], raw, f"{cls.name}{{{k}}}") for k, raw in options.items()}
    for name, field in known.items():
        if name not in values and field.default is dataclasses.MISSING:
            raise UsageError(f"pass {cls.name} needs the option {name!r}", hint=field.metadata["help"])
    return cls(**values)


def unparse(item: Pass) -> str:
    """The text that makes this pass; options at their default are left out."""
    set_fields = [f for f in dataclasses.fields(item) if getattr(item, f.name) != f.default]
    body = ",".join(f"{f.name}={print_value(getattr(item, f.name))}" for f in set_fields)
    return f"{item.name}{{{body}}}" if body else item.name


def convert(hint: Any, raw: Raw, where: str) -> Any:
    """Turn the text of a value into the type of its field.

    Raises:
        UsageError: It is no such value.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if raw == "none" and not isinstance(raw, Quoted) and type(None) in args:
            return None
        inner = [a for a in args if a is not type(None)]
        return convert(inner[0], raw, where)
    if origin is tuple:
        items = raw if isinstance(raw, list) else [raw]
        return tuple(convert(args[0], item, where) for item in items)
    if isinstance(raw, list):
        raise UsageError("takes one value, not a list", where=where)
    if origin is typing.Literal:
        if raw not in args:
            raise UsageError(f"is {raw!r}", where=where, hint=f"one of: {', '.join(args)}")
        return raw
    return _convert_scalar(hint, raw, where)


def type_name(hint: Any) -> str:
    """A short name of a field's type, for help."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "|".join(args)
    if origin in (types.UnionType, typing.Union):
        return "|".join("none" if a is type(None) else type_name(a) for a in args)
    if origin is tuple:
        return f"[{type_name(args[0])},...]"
    return {str: "text", Path: "path"}.get(hint, getattr(hint, "__name__", str(hint)))


def _convert_scalar(hint: Any, raw: str, where: str) -> Any:
    if hint is bool:
        if raw not in ("true", "false"):
            raise UsageError(f"is {raw!r}", where=where, hint="true or false")
        return raw == "true"
    if hint is float and raw.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise UsageError(f"is {raw!r}", where=where, hint="a finite number")
    try:
        return hint(raw)
    except ValueError as error:
        kinds = {int: "an integer", float: "a number"}
        raise UsageError(f"is {raw!r}", where=where, hint=kinds.get(hint, str(hint))) from error


def print_value(value: Any) -> str:
    """The text of an option's value, as `parse` reads it."""
    if isinstance(value, tuple):
        return "[" + ",".join(print_value(v) for v in value) + "]"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value) if isinstance(value, float) else str(value)
    bare = _WORD.fullmatch(text) and not (isinstance(value, (str, Path)) and text == "none")
    return text if bare else json.dumps(text)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def pipeline(self) -> list[Call]:
        calls = [self.call()]
        while self.take(","):
            calls.append(self.call())
        if self.at < len(self.text):
            self.fail("a comma or the end")
        return calls

    def call(self) -> Call:
        name = self.match(_NAME, "the name of a pass")
        options: dict[str, Raw] = {}
        if not self.take("{"):
            return Call(name, options)
        while not self.take("}"):
            if options:
                self.expect(",")
            key = self.match(_NAME, "the name of an option")
            if key in options:
                self.fail(f"another option than {key!r}, which is given twice")
            self.expect("=")
            options[key] = self.value()
        return Call(name, options)

    def value(self) -> Raw:
        if self.take("["):
            items: list[Raw] = []
            while not self.take("]"):
                if items:
                    self.expect(",")
                items.append(self.value())
            return items
        if self.text[self.at : self.at + 1] == '"':
            return Quoted(json.loads(self.match(_STRING, "a closing quote")))
        return self.match(_WORD, "a value")

    def match(self, pattern: re.Pattern[str], expected: str) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            self.fail(expected)
        self.at = found.end()
        self.skip()
        return found.group()

    def take(self, sign: str) -> bool:
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        self.skip()
        return True

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            self.fail(repr(sign))

    def skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def fail(self, expected: str) -> typing.NoReturn:
        rest = self.text[self.at : self.at + 20] or "the end"
        where = f"pipeline, column {self.at + 1}"
        raise UsageError(f"expected {expected}, found {rest!r}", where=where)
