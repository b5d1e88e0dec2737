"""What ``edgecut passes`` lists: each pass with its options."""

import dataclasses
import typing
from dataclasses import dataclass

from edgecut.passes import registry, text
from edgecut.passes.base import Pass


@dataclass(frozen=True)
class OptionEntry:
    """One option of a pass; ``default`` is None where it must be given."""

    name: str
    type: str
    default: str | None
    help: str


@dataclass(frozen=True)
class Entry:
    """One pass."""

    name: str
    package: str
    summary: str
    options: tuple[OptionEntry, ...]


def entries(name: str | None = None) -> list[Entry]:
    """All passes sorted by name, or the one of this name.

    Raises:
        UsageError: There is no pass of this name, or a package that offers one does not load.
    """
    names = [name] if name else list(registry.available())
    return [_entry(registry.load(n)) for n in names]


def _entry(cls: type[Pass]) -> Entry:
    hints = typing.get_type_hints(cls)
    options = tuple(_option(f, hints[f.name]) for f in dataclasses.fields(cls))
    summary = (cls.__doc__ or "").strip().splitlines()
    package = registry.package(registry.available()[cls.name])
    return Entry(cls.name, package, summary[0] if summary else "", options)


def _option(field: "dataclasses.Field[object]", hint: object) -> OptionEntry:
    required = field.default is dataclasses.MISSING
    default = None if required else text.print_value(field.default)
    return OptionEntry(field.name, text.type_name(hint), default, field.metadata.get("help", ""))
