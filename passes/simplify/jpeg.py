"""What an image takes as JPEG: the upload that a split has to beat."""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANNELS = (1, 3)
"""JPEG holds grey or colour, nothing else."""


def mean_bytes(batches: Iterable[NDArray[Any]], quality: int) -> int:
    """Mean bytes of a batch of images, each compressed on its own.

    Args:
        batches: uint8 [N, H, W, 1 or 3].
        quality: Of the JPEG, 1 to 100.
    """
    sizes = [sum(_bytes(image, quality) for image in batch) for batch in batches]
    return round(sum(sizes) / len(sizes))


def _bytes(image: NDArray[Any], quality: int) -> int:
    from PIL import Image

    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    return file.tell()
