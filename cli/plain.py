"""Reads plain values of options without pydantic, whose import takes a tenth of a second at each start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def read_plainly(params: list[Any]) -> list[Any]:
    """Let these parameters be read so, where typer is one that uses pydantic (0.29 is)."""
    for param in params:
        if getattr(param, "_runtime_param", param) is None:
            param._runtime_param = _Plain()
    return params


class _Plain:
    """Reads readable paths and what has its type already; anything else is left to typer."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """What typer itself would make of a value."""
        wanted = param.type_descriptor.annotation
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if isinstance(wanted, type) and isinstance(value, wanted):
            return value
        if wanted is Path and isinstance(value, str) and _is_readable(value):
            return Path(value)
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _is_readable(path: str) -> bool:
    """Whether a file can be read, or is not there, which is for the command to say."""
    return os.access(path, os.R_OK) or not os.path.lexists(path)
