"""Entry point of the ``edgecut`` command."""

import atexit
import gc
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT  # what a shell reports for a process ended by a signal

# New objects between two collections. Imports make hundreds of thousands that stay: with Python's own 700
# they are a quarter of the start.
_COLLECT_AFTER = 1_000_000


def main() -> None:
    """Run the command line; an interruption ends it in one line at any moment, imports included."""
    signal.signal(signal.SIGTERM, _terminate)
    gc.set_threshold(_COLLECT_AFTER)
    _end(_run())


def _run() -> int:
    """The exit code."""
    try:
        from edgecut.cli import lazily
        from edgecut.cli.app import main as run

        lazily.install()
        run()
    except BaseException as error:
        signalled = _signal_behind(error)
        if signalled is None:
            raise
        if not isinstance(signalled, SystemExit):
            print("edgecut: error: interrupted", file=sys.stderr)
            return INTERRUPTED
        if isinstance(signalled.code, str):
            raise
        return signalled.code or 0
    return 0


def _end(code: int) -> NoReturn:
    """Leave the process at once: to take hundreds of modules down piece by piece is a tenth of a command."""
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        sys.exit(code)  # which waits for them
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where it was closed from the start
        try:
            stream.flush()
        except (OSError, ValueError):  # its reader has gone, or it is closed
            sys.exit(code)
    os._exit(code)


def _signal_behind(error: BaseException) -> BaseException | None:
    """The interruption or exit that ``error`` comes of.

    An extension module whose import is interrupted raises an ImportError of its own in place of what the
    signal's handler raised, and keeps that only as the cause.
    """
    link: BaseException | None = error
    while link is not None and not isinstance(link, KeyboardInterrupt | SystemExit):
        link = link.__cause__ or link.__context__
    return link


def _terminate(number: int, _frame: FrameType | None) -> None:
    """Leave through the clean-up of whatever is being written."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
