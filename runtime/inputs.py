"""Reads the inputs of one request from files, and writes its outputs to one."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import numpy as np

from edgecut.ir import files
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.manifest import Manifest


def read(described: Manifest, given: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the inputs that a command line names.

    Args:
        described: The build's manifest.
        given: ``FILE`` for a model with one input or an ``.npz`` that names them, else ``NAME=FILE``.

    Returns:
        Arrays by input name, as they are in the files.

    Raises:
        ModelError: A file is absent or holds no arrays.
        UsageError: It is not clear which input a file is for, or two are for one.
    """
    found: dict[str, np.ndarray] = {}
    names = [t.name for t in described.inputs]
    for text in given:
        name, path = _split(text, names)
        for key, array in _named(path, name, names).items():
            if key in found:
                raise UsageError(f"the input {key!r} is given twice", where="--input")
            found[key] = array
    return found


def write(outputs: Mapping[str, np.ndarray], path: Path) -> None:
    """Write outputs as ``.npz``, or a single one as ``.npy``.

    Raises:
        UsageError: The suffix is another, or several outputs are to go into an ``.npy``.
        TargetError: The disk is full or the place cannot be written.
    """
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(buffer, allow_pickle=False, **dict(outputs))
    elif path.suffix == ".npy" and len(outputs) == 1:
        np.save(buffer, next(iter(outputs.values())), allow_pickle=False)
    else:
        hint = "an .npz holds all outputs, an .npy one"
        raise UsageError(f"cannot hold {len(outputs)} outputs", where=f"--output {path}", hint=hint)
    files.write(path, buffer.getvalue())


def _split(text: str, names: list[str]) -> tuple[Optional[str], Path]:
    name, sign, path = text.partition("=")
    if sign and (name in names or not Path(text).exists()):
        return name, Path(path)
    return None, Path(text)


def _named(path: Path, name: Optional[str], names: list[str]) -> dict[str, np.ndarray]:
    arrays = _load(path)
    if name is not None and len(arrays) == 1:
        return {name: next(iter(arrays.values()))}
    if name is None and len(arrays) == 1 and len(names) == 1:
        return {names[0]: next(iter(arrays.values()))}
    if name is None and set(arrays) <= set(names):
        return arrays
    shown = ", ".join(names)
    hint = f"--input NAME=FILE, where NAME is one of: {shown}"
    raise UsageError("it is not clear which input this is for", where=f"--input {path}", hint=hint)


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ModelError("no such file", where=str(path))
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"": found}
        with found:
            return {key: found[key] for key in found.files}
    except Exception as error:  # NumPy and zipfile raise kinds of their own for a damaged file
        raise ModelError("is no readable .npy or .npz file", where=str(path)) from error
