"""The ``edgecut`` application: its commands, and how errors end it."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, NoReturn

import typer

from edgecut.cli.commands.build import build
from edgecut.cli.commands.check import check
from edgecut.cli.commands.convert import convert
from edgecut.cli.commands.diff import diff
from edgecut.cli.commands.emit import emit
from edgecut.cli.commands.opt import opt
from edgecut.cli.commands.partition import partition
from edgecut.cli.commands.passes import passes
from edgecut.cli.commands.profile import profile
from edgecut.cli.commands.prune import prune
from edgecut.cli.commands.quantize import quantize
from edgecut.cli.commands.run import run
from edgecut.cli.commands.serve import serve
from edgecut.cli.commands.show import show
from edgecut.cli.commands.sign import sign
from edgecut.cli.commands.targets import targets
from edgecut.cli.help import Sectioned

# In the order in which a user meets them.
COMMANDS = (
    build, check, serve, run, sign, profile, prune, quantize, partition, emit, convert, opt, show, diff,
    passes, targets,
)  # fmt: skip

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Cut one trained neural network into an edge half and a cloud half.",
    epilog="Exit codes: 0 done; 1 the model or the constraints cannot be satisfied; 2 usage; "
    "3 a target, network or disk fault; 130 interrupted.",
)
for command in COMMANDS:
    app.command(cls=Sectioned)(command)


def _version(wanted: bool) -> None:
    if wanted:
        from edgecut import __version__

        typer.echo(f"edgecut {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of ``edgecut`` itself."""


def main() -> None:
    """Run the command line, and turn every fault a user can act on into one line and an exit code."""
    from edgecut.ir.errors import EdgecutError

    try:
        app()
    except EdgecutError as error:
        notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
        fail(f"{error}{notes}", error.exit_code)
    except BrokenPipeError:
        # The reader of our output is gone (`| head`): nobody is left to tell, and closing must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except MemoryError:
        fail("out of memory", 3)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        fail(f"{error.filename or 'disk'}: {(error.strerror or str(error)).lower()}", 3)


def fail(message: str, code: int) -> NoReturn:
    """End with one line on stderr."""
    print(f"edgecut: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
