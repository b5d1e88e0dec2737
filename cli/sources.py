"""The user's model and how to read it, as flags that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgecut.cli import sharing
from edgecut.cli.options import Calibration, ImageInput, ImageMean, ImageScale, ImageStd, Model, Shape

if TYPE_CHECKING:
    from edgecut.passes.recipes import Source

FLAGS: sharing.Flags = {
    "model": (Model, sharing.REQUIRED),
    "calibration": (Calibration, None),
    "shape": (Shape, None),
    "image": (ImageInput, None),
    "mean": (ImageMean, None),
    "std": (ImageStd, None),
    "scale": (ImageScale, 1.0),
}


def _made(given: dict[str, Any]) -> Source:
    from edgecut.cli import session
    from edgecut.passes.recipes import Source

    image = session.image(given["image"], given["mean"], given["std"], given["scale"])
    return Source(given["model"], tuple(given["shape"] or ()), image, given["calibration"])


takes = sharing.adds("source", FLAGS, _made)
"""Gives a command these flags; it gets them as a `recipes.Source` in its parameter ``source``."""
