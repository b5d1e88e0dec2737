"""Keras models: ``.keras`` of Keras 3, and ``.h5`` of Keras 2 and 3.

Models made of Keras' own layers are written in ONNX as their configuration says (`network`, `layers`), which
takes milliseconds and needs no TensorFlow. Others are traced by TensorFlow (`traced`).
"""

from pathlib import Path

import onnx

from edgecut.frontends.keras import archive, network
from edgecut.frontends.keras.graph import UnknownError
from edgecut.frontends.quiet import reason


def read(path: Path) -> onnx.ModelProto:
    """Read a Keras model and convert it to ONNX.

    Args:
        path: The file.

    Raises:
        ModelError: The file is not readable, its input is not known, an operator has no ONNX form, or it
            needs TensorFlow and that is not installed.
    """
    try:
        with archive.opened(path) as stored:
            return network.write(stored)
    except UnknownError as error:
        because = str(error)
    except OSError as error:  # of HDF5, which reads the weights when they are asked for
        raise archive.unreadable(str(path), error) from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        # Not as any Keras writes it that is known here: what it means, Keras has to say.
        because = f"its configuration is not understood: {reason(error)}"
    from edgecut.frontends.keras import traced

    return traced.read(path, because)
