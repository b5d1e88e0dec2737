"""The group of commands, each imported and built only when it is run or its help is asked for."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from edgecut.cli import plain
from edgecut.cli.help import Sectioned

# In the order in which a user meets them; each is a function in the module of its name.
COMMANDS = (
    "build", "check", "serve", "run", "sign", "profile", "prune", "quantize", "partition", "emit", "convert",
    "opt", "show", "diff", "passes", "targets",
)  # fmt: skip
SETTINGS: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class LazyGroup(TyperGroup):
    """Knows its commands by their names."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Options, that of the help among them."""
        return plain.read_plainly(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, or None."""
        if cmd_name not in self.commands and cmd_name in COMMANDS:
            self.commands[cmd_name] = _built(cmd_name)
        return self.commands.get(cmd_name)


def _built(name: str) -> Any:
    function = getattr(importlib.import_module(f"edgecut.cli.commands.{name}"), name)
    alone = typer.Typer(add_completion=False, **SETTINGS)
    alone.command(cls=Sectioned)(function)
    command = get_command(alone)
    command.name = name
    return command
