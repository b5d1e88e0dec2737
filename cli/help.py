"""The help of a command with many options: under headings, in the order in which they are declared."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from edgecut.cli import plain

REST = "Options"


class Sectioned(TyperCommand):
    """A command whose ``--help`` lists options under the heading that each names as its panel."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Arguments and options, that of the help among them."""
        return plain.read_plainly(super().get_params(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, the options without a heading, then each heading's."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], REST: []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                is_argument = param.param_type_name == "argument"
                panel = "Arguments" if is_argument else getattr(param, "rich_help_panel", None) or REST
                sections.setdefault(panel, []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
