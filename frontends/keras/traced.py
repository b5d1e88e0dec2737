"""Keras models as TensorFlow traces them: whatever Keras itself can load."""

from pathlib import Path

import onnx

from edgecut.frontends import tensorflow
from edgecut.frontends.keras.archive import unbuilt
from edgecut.frontends.keras.configuration import numbered
from edgecut.frontends.quiet import quiet, reason, require
from edgecut.ir.errors import ModelError


def read(path: Path, because: str) -> onnx.ModelProto:
    """Load a model with Keras, trace it, and convert it to ONNX.

    Args:
        path: The file.
        because: Why it is not read without TensorFlow.

    Raises:
        ModelError: TensorFlow is not installed, the file is not readable, or an operator has no ONNX form.
    """
    with quiet():
        try:
            framework, keras = require("tensorflow", "keras", extra="tensorflow")
        except ModelError as error:
            raise ModelError(f"{because}: {error.what}", where=str(path), hint=error.hint) from error
        try:
            model = keras.saving.load_model(path, compile=False)
        except Exception as error:  # h5py, zipfile and Keras raise what they like for a damaged file
            raise ModelError(f"is no readable Keras model: {reason(error)}", where=str(path)) from error
        if not getattr(model, "inputs", None):
            raise unbuilt(str(path))
        inputs = [framework.TensorSpec(v.shape, v.dtype, name=v.name) for v in model.inputs]

        def function(*args: object) -> list[object]:
            result = model(args[0] if len(args) == 1 else list(args), training=False)
            return list(framework.nest.flatten(result))

        makers = [value._keras_history.operation.name for value in model.outputs]
        return tensorflow.convert(function, inputs, numbered(makers, []), str(path))
