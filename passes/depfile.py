"""Make dependencies: which files a result was made from."""

from collections.abc import Sequence
from pathlib import Path

from edgecut.ir import files
from edgecut.passes.base import Pass


def write(path: Path, target: Path, passes: Sequence[Pass]) -> None:
    """Write ``target: inputs`` as a Make rule, each input also as a rule of its own (like ``cc -MP``).

    Raises:
        TargetError: The disk is full or the place cannot be written.
    """
    inputs = [_escape(p) for item in passes for p in _inputs(item)]
    rule = f"{_escape(target)}: {' '.join(inputs)}\n"
    phony = "".join(f"\n{name}:\n" for name in inputs)
    files.write(path, (rule + phony).encode())


def _inputs(item: Pass) -> list[Path]:
    return [inner for path in item.files() for inner in _files(path)]


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _escape(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(" ", "\\ ").replace("#", "\\#").replace("$", "$$")
