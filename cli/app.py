"""The ``edgecut`` application: its commands, and how errors end it."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, NoReturn

import typer

from edgecut.cli.lazygroup import SETTINGS, LazyGroup

app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=True,
    help="Cut one trained neural network into an edge half and a cloud half.",
    epilog="Exit codes: 0 done; 1 the model or the constraints cannot be satisfied; 2 usage; "
    "3 a target, network or disk fault; 130 interrupted.",
    **SETTINGS,
)


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
