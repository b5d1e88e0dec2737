"""Errors that a user can act on, and the exit code that each one ends the command with."""

from __future__ import annotations


class EdgecutError(Exception):
    """Something the user can act on: what is wrong, where, and what to do about it.

    Args:
        what: One sentence without a full stop.
        where: The file, option, or node of the user's model that it is about.
        hint: What to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.hint})" if self.hint else text


class ModelError(EdgecutError):
    """The model, the IR file or the data cannot be used (exit code 1)."""


class ConstraintError(EdgecutError):
    """The constraints cannot be satisfied (exit code 1)."""


class CheckError(EdgecutError):
    """A build does not compute what the imported model computes (exit code 1)."""


class UsageError(EdgecutError):
    """The command line, a pipeline text, or an option is wrong (exit code 2)."""

    exit_code = 2


class TargetError(EdgecutError):
    """A device, a server, the network or a disk failed (exit code 3)."""

    exit_code = 3
