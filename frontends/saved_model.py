"""TensorFlow SavedModel folders, by their serving signature."""

import re
from pathlib import Path
from typing import Any

import onnx

from edgecut.frontends import tensorflow
from edgecut.frontends.quiet import quiet, reason, require
from edgecut.ir.errors import ModelError

_DEFAULT = "serving_default"


def read(path: Path) -> onnx.ModelProto:
    """Read a SavedModel and convert its serving signature to ONNX.

    Raises:
        ModelError: TensorFlow is not installed, the folder is not readable, it has no one signature, or
            an operator has no ONNX form.
    """
    with quiet():
        (framework,) = require("tensorflow", extra="tensorflow")
        try:
            loaded = framework.saved_model.load(str(path))
        except Exception as error:  # TensorFlow raises what it likes for a damaged folder
            raise ModelError(f"is no readable SavedModel: {reason(error)}", where=str(path)) from error
        signature = _signature(loaded, path)
        # A signature is a mapping without order; that of the names is the same on every machine.
        given = signature.structured_input_signature[1]
        names = sorted(signature.structured_outputs, key=_natural)
        keys = sorted(given, key=_natural)
        inputs = [framework.TensorSpec(given[key].shape, given[key].dtype, name=key) for key in keys]

        def function(*args: object) -> list[object]:
            result = signature(**dict(zip(keys, args, strict=True)))
            return [result[name] for name in names]

        return tensorflow.convert(function, inputs, names, str(path))


def _signature(loaded: Any, path: Path) -> Any:
    signatures = loaded.signatures
    if _DEFAULT in signatures:
        return signatures[_DEFAULT]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    have = ", ".join(signatures) or "none"
    raise ModelError(f"has no signature {_DEFAULT!r}, but: {have}", where=str(path), hint="save it with one")


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts ``output_2`` before ``output_10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
