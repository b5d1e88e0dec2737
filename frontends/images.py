"""Samples from a folder of images, decoded one at a time."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecut.ir.errors import ModelError
from edgecut.ir.program import TensorSpec

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
LABELS = "labels.csv"
_FILE_COLUMNS = ("file", "filename", "image", "path")
_LABEL_COLUMNS = ("label", "labels", "class", "class_index", "y")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Evaluation on ImageNet scales the short side to 256 and takes the middle 224: so do we for any size.
_MARGIN = 256 / 224


@dataclass(frozen=True)
class Images:
    """The images of a folder as samples of one uint8 NHWC input."""

    files: tuple[Path, ...]
    spec: TensorSpec

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        _, height, width, channels = (int(d or 0) for d in self.spec.shape)
        for path in self.files:
            yield _pixels(path, height, width, channels)


def open_images(folder: Path, spec: TensorSpec) -> Images:
    """All images below a folder, in the order of their paths.

    Raises:
        ModelError: There is none, or the input is no uint8 [1, H, W, 1|3|4].
    """
    files = tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()))
    if not files:
        raise ModelError("holds no images", where=str(folder))
    fits = len(spec.shape) == 4 and spec.shape[0] == 1 and spec.shape[3] in _MODES
    if spec.dtype != "uint8" or not fits:
        dims = ", ".join(map(str, spec.shape))
        what = f"images do not fit the input {spec.name!r}, which takes {spec.dtype} [{dims}]"
        raise ModelError(what, where=str(folder), hint=f"build with --image {spec.name}, or give a .npz")
    return Images(files, spec)


def read_labels(folder: Path, files: tuple[Path, ...], classes: int | None) -> NDArray[np.int64] | None:
    """Labels of images from ``labels.csv``: a column for the file (path or name), one for the class index.

    The latter is called ``label``, or ``class_index_<classes>`` where conventions of several sizes stand
    side by side.

    Args:
        folder: Where ``labels.csv`` stands; without it there are no labels.
        files: Images to find the labels of.
        classes: Number of classes of the model, if known.

    Raises:
        ModelError: It does not list a file, or a label is no integer.
    """
    path = folder / LABELS
    if not path.is_file():
        return None
    try:
        with path.open(newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ModelError("is no readable CSV file", where=str(path)) from error
    header = rows[0] if rows else {}
    key = next((c for c in _FILE_COLUMNS if c in header), None)
    column = _label_column(header, classes)
    if key is None:
        raise ModelError("has no column 'file'", where=str(path))
    if column is None:
        return None
    try:
        by_file = {row[key]: int(row[column]) for row in rows}
    except (TypeError, ValueError) as error:
        raise ModelError(f"has a {column!r} that is no integer", where=str(path)) from error
    found = []
    for file in files:
        name = file.relative_to(folder).as_posix()
        label = by_file.get(name, by_file.get(file.name))
        if label is None:
            raise ModelError(f"has no row for {name!r}", where=str(path))
        found.append(label)
    return np.array(found, dtype=np.int64)


def _label_column(header: dict[str, str], classes: int | None) -> str | None:
    wanted = (*([f"class_index_{classes}"] if classes else []), *_LABEL_COLUMNS)
    return next((c for c in wanted if c in header), None)


def _pixels(path: Path, height: int, width: int, channels: int) -> NDArray[Any]:
    """Decode to uint8 [1, height, width, channels]."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert(_MODES[channels])
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ModelError("is no readable image", where=str(path)) from error
    pixels = np.asarray(_fit(upright, height, width), dtype=np.uint8)
    return pixels.reshape(1, height, width, channels)


def _fit(image: "Image", height: int, width: int) -> "Image":
    """The image as it is where its size is right, else its scaled middle."""
    from PIL.Image import Resampling

    if image.size == (width, height):
        return image
    scale = _MARGIN * max(width / image.width, height / image.height)
    size = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    resized = image if size == image.size else image.resize(size, Resampling.BILINEAR)
    left, top = math.floor((size[0] - width) / 2), math.floor((size[1] - height) / 2)
    return resized.crop((left, top, left + width, top + height))
