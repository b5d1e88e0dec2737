"""Keeps notices of native libraries off stderr, where they would look like ours."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def without_notices() -> Iterator[None]:
    """Hold back what native code writes to stderr meanwhile, and pass on all but its ``INFO:`` lines.

    LiteRT announces its delegate there, and has no setting for it.
    """
    try:
        real = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            lines = [line for line in held if not line.startswith(b"INFO:")]
            os.write(2, b"".join(lines))
