"""Files of bearer tokens."""

from __future__ import annotations

from pathlib import Path

from edgecut.ir.errors import UsageError

_MIN_LENGTH = 16


def read(path: Path) -> list[str]:
    """Tokens of a file, one a line; blank lines and those that begin with # are skipped.

    Raises:
        UsageError: The file cannot be read, holds no token, or one that could be guessed.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("cannot be read", where=str(path)) from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise UsageError("holds no token", where=str(path))
    if min(map(len, tokens)) < _MIN_LENGTH:
        raise UsageError(f"holds a token of fewer than {_MIN_LENGTH} characters", where=str(path))
    return tokens
