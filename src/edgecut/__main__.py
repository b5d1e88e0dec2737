"""Entry point of the ``edgecut`` command."""

import signal
import sys
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT  # what a shell reports for a process ended by a signal


def main() -> None:
    """Run the command line; an interruption ends it in one line at any moment, imports included."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from edgecut.cli.app import main as run

        run()
    except KeyboardInterrupt:
        print("edgecut: error: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _terminate(number: int, _frame: FrameType | None) -> None:
    """Leave through the clean-up of whatever is being written."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
