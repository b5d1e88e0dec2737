"""Keeps the talk of other frameworks off the user's terminal."""

import contextlib
import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from types import ModuleType

from edgecut.ir.errors import ModelError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send stdout and stderr of this process, C++ included, to nowhere while the block runs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(tempfile.TemporaryFile())
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            kept = os.dup(number)
            os.dup2(sink.fileno(), number)
            stack.callback(_restore, number, kept)
        text = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(text))
        stack.enter_context(contextlib.redirect_stderr(text))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        yield


def require(*modules: str, extra: str) -> list[ModuleType]:
    """Import packages that an extra of edgecut installs.

    Raises:
        ModelError: One is absent; the message says how to install it.
    """
    try:
        return [importlib.import_module(name) for name in modules]
    except ImportError as error:
        what = f"this format needs {error.name or modules[0]}, which does not load: {error}"
        raise ModelError(what, hint=f'pip install "edgecut[{extra}]"') from error


def reason(error: Exception) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _restore(number: int, kept: int) -> None:
    os.dup2(kept, number)
    os.close(kept)
