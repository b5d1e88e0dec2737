"""The user's model or data into the compiler, one file per format.

A frontend is a module with ``read(path) -> onnx.ModelProto``, and a line in `FORMATS`. What comes after
(opset, shapes, checks) is the same for all and stands in `normalize`. Data are read by `data`.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecut.ir.errors import ModelError

if TYPE_CHECKING:
    from edgecut.frontends.shapes import Shapes
    from edgecut.ir.program import Program


@dataclass(frozen=True)
class Format:
    """A kind of model file, and the module that reads it."""

    name: str
    suffixes: tuple[str, ...] = ()
    marker: str | None = None
    """File by which a folder of this format is known."""

    def fits(self, path: Path) -> bool:
        """Whether a path looks like this format."""
        if path.is_dir():
            return self.marker is not None and (path / self.marker).is_file()
        return path.suffix.lower() in self.suffixes


FORMATS = (
    Format("onnx", suffixes=(".onnx",)),
    Format("torch_export", suffixes=(".pt2",)),
    Format("keras", suffixes=(".keras", ".h5", ".hdf5")),
    Format("saved_model", marker="saved_model.pb"),
)
_HINTS = {
    ".pt": "save it with torch.export.save(torch.export.export(model, inputs), 'model.pt2')",
    ".pth": "save it with torch.export.save(torch.export.export(model, inputs), 'model.pt2')",
    ".pb": "give the folder of the SavedModel",
    ".tflite": "edgecut starts from the trained model: ONNX, .pt2, Keras or SavedModel",
}


def detect(path: Path) -> Format:
    """The format of a model.

    Raises:
        ModelError: There is no such file, or its format is not known.
    """
    if not path.exists():
        raise ModelError("no such file", where=str(path))
    found = next((item for item in FORMATS if item.fits(path)), None)
    if found is None:
        folder = path.is_dir()
        what = "is a folder without a saved_model.pb" if folder else "is of no known model format"
        hint = _HINTS.get(path.suffix.lower(), "ONNX, .pt2, .keras, .h5, or the folder of a SavedModel")
        raise ModelError(what, where=str(path), hint=hint)
    return found


def load(path: Path, shapes: "Shapes | None" = None) -> "Program":
    """Read a model of any format; names and order of its inputs and outputs are kept.

    Args:
        path: File, or folder of a SavedModel.
        shapes: Shapes of graph inputs, by name. An open first dimension is 1 unless given.

    Raises:
        ModelError: The model cannot be read or is not valid.
        UsageError: ``shapes`` names an input that is not there.
    """
    from edgecut.frontends.normalize import normalize

    frontend = importlib.import_module(f"edgecut.frontends.{detect(path).name}")
    return normalize(frontend.read(path), shapes or {}, str(path))
