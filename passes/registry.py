"""Finds passes, ours and other packages', by the entry-point group ``edgecut.passes``.

An entry point is found without importing its package, and loaded when the pass is used.
"""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points

from edgecut.ir.errors import UsageError
from edgecut.passes import text
from edgecut.passes.base import Pass

GROUP = "edgecut.passes"


@functools.cache
def available() -> dict[str, EntryPoint]:
    """Entry points of all passes, sorted by name.

    Raises:
        UsageError: Two packages offer a pass of the same name.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value)):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            what = f"pass {point.name!r} is offered by {package(other)} and by {package(point)}"
            raise UsageError(what, hint="uninstall one of them")
    return found


def load(name: str) -> type[Pass]:
    """The class of a pass.

    Raises:
        UsageError: There is no such pass, or its package does not load.
    """
    points = available()
    if name not in points:
        import difflib

        close = difflib.get_close_matches(name, points, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "edgecut passes lists all"
        raise UsageError(f"unknown pass {name!r}", hint=hint)
    try:
        found = points[name].load()
    except Exception as error:  # a foreign package may fail in any way; say whose failure it is
        what = f"pass {name!r} of package {package(points[name])} does not load: {error}"
        raise UsageError(what) from error
    if not (isinstance(found, type) and issubclass(found, Pass) and found.name == name):
        raise UsageError(f"entry point {name!r} of package {package(points[name])} is no pass of that name")
    return found


def pipeline(source: str) -> list[Pass]:
    """The passes that a pipeline text names.

    Raises:
        UsageError: The text, a pass name or an option is wrong.
    """
    return [text.bind(load(call.name), call.options) for call in text.parse(source)]


def package(point: EntryPoint) -> str:
    """Name of the distribution that offers an entry point."""
    return point.dist.name if point.dist else "unknown"
