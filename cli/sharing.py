"""Flags that several commands share, declared once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

Flags = Mapping[str, tuple[Any, Any]]
"""Type and default of each flag, in the order of the help, by the name of its parameter."""
Command = Callable[..., None]

REQUIRED = inspect.Parameter.empty
"""In place of a default."""


def adds(parameter: str, flags: Flags, made: Callable[[dict[str, Any]], Any]) -> Callable[[Command], Command]:
    """A decorator that gives a command flags beneath its own.

    A flag that the command has itself it keeps.

    Args:
        parameter: The keyword parameter of the command that takes what is made of the flags.
        flags: What to add.
        made: Makes it of all these flags' values, those of the command's own among them.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**given: Any) -> None:
            value = made({name: given[name] for name in flags})
            command(**{k: v for k, v in given.items() if k in taken}, **{parameter: value})

        own = inspect.signature(command)
        taken = set(own.parameters)
        kept = [_evaluated(p, command) for p in own.parameters.values() if p.name != parameter]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
            for name, (kind, default) in flags.items()
            if name not in taken
        ]
        wrapped.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {}
        return wrapped

    return decorate


def _evaluated(parameter: inspect.Parameter, command: Command) -> inspect.Parameter:
    """A parameter with its type; that of one for another decorator may not be there at run time."""
    text = parameter.annotation
    is_filled = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    if is_filled or not isinstance(text, str):
        return parameter
    return parameter.replace(annotation=eval(text, command.__globals__))
