"""Entry point of the ``edgecut`` command."""

import atexit
import gc
import signal
import sys
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT  # what a shell reports for a process ended by a signal

# New objects between two collections. Imports make hundreds of thousands that stay: with Python's own 700
# they are a quarter of the start.
_COLLECT_AFTER = 1_000_000


def main() -> None:
    """Run the command line; an interruption ends it in one line at any moment, imports included."""
    signal.signal(signal.SIGTERM, _terminate)
    gc.set_threshold(_COLLECT_AFTER)
    atexit.register(gc.freeze)  # what is left at the end goes with the process; no need to search it
    try:
        from edgecut.cli import lazily
        from edgecut.cli.app import main as run

        lazily.install()
        run()
    except BaseException as error:
        signalled = _signal_behind(error)
        if signalled is None:
            raise
        if isinstance(signalled, SystemExit):
            sys.exit(signalled.code)
        print("edgecut: error: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


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
