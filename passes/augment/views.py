"""Samples as an original sees them, and as what learns from it does: new ones each time.

Images (of 3 channels, first or last) are mirrored and moved. Two samples at a time are then laid over each
other or cut into each other, which needs nothing but numbers. What learns sees some of the images brighter or
duller, sharper or softer, or noisy, and has to answer as the original does where they are not: so it learns
to read poor images, at which less of a network is weaker. Integers that are no pixels, such as words, stay as
they are.

Teaching an altered input the answer to a better one: Q. Xie et al., "Self-training with noisy student
improves ImageNet classification", CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecut.passes.augment import Kind

Array = NDArray[Any]
Floats = NDArray[np.float32]

# Share of the images that only what learns sees otherwise. With more of them it does better on poor images,
# and worse on good ones.
_POOR = 0.125
# How far images are moved at most: a share of their sides.
_SHIFT = 1 / 8
# At most: contrast by this share, brightness and each colour by these shares of the standard deviation.
_CONTRAST, _BRIGHTNESS, _COLOUR = 0.2, 0.4, 0.15
# Of the difference to the softened image, added at most (sharper) and taken at most (softer).
_SHARPER, _SOFTER = 1.5, 0.5
_NOISE = 0.12
"""Standard deviation of noise at most, in standard deviations of the data."""


@dataclass(frozen=True)
class Scale:
    """What numbers an input consists of."""

    low: float
    high: float
    deviation: float

    @classmethod
    def of(cls, array: Array) -> Scale:
        """The range and standard deviation of an input's samples."""
        return cls(float(array.min()), float(array.max()), float(array.std(dtype=np.float64)))


def batch(
    inputs: Mapping[str, Array],
    at: NDArray[np.int64],
    kind: Kind,
    scales: Mapping[str, Scale],
    seed: list[int],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Some samples, altered.

    Args:
        inputs: All samples, each input [samples, *shape in the graph].
        at: Which of them.
        kind: ``flip`` only mirrors images; ``none`` alters nothing.
        scales: Of each input.
        seed: The same gives the same.

    Returns:
        What the original sees, and what learns from its answers: arrays [len(at), *shape in the graph] of the
        inputs' types.
    """
    plain = {name: array[at] for name, array in inputs.items()}
    if kind == "none":
        return plain, plain
    random = np.random.default_rng(seed)
    partner, share = random.permutation(len(at)), random.random(len(at), np.float32)
    how = random.integers(0, 3 if kind == "auto" else 1, len(at))
    views: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
    for name, array in plain.items():
        axes = _image_axes(array)
        if not np.issubdtype(array.dtype, np.floating) and (array.dtype != np.uint8 or axes is None):
            for view in views:
                view[name] = array
            continue
        mixing = int(random.integers(1 << 32))
        for view, numbers in zip(views, _both(array, axes, kind, scales[name], random), strict=True):
            # Both are cut alike.
            cuts = np.random.default_rng(mixing)
            view[name] = _typed(_mixed(numbers, axes, partner, share, how, cuts), array.dtype)
    return views


def _both(
    array: Array, axes: tuple[int, int, int] | None, kind: Kind, scale: Scale, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Images mirrored and moved, and some of them made poorer too; other numbers as they are."""
    numbers = array.astype(np.float32)
    if axes is None:
        return numbers, numbers
    images = np.moveaxis(numbers, axes, (-3, -2, -1))
    shape = images.shape
    placed = _placed(images.reshape(-1, *shape[-3:]), kind, random)
    poor = placed
    if kind == "auto":
        chosen = random.random(len(placed)) < _POOR
        poor = np.where(chosen[:, None, None, None], _poorer(placed, scale, random), placed)
    good, other = (np.moveaxis(p.reshape(shape), (-3, -2, -1), axes) for p in (placed, poor))
    return good, other


def _image_axes(array: Array) -> tuple[int, int, int] | None:
    """Channels, rows and columns of [samples, 1, ...], where these are images."""
    if array.ndim != 5:
        return None
    if array.shape[2] == 3:
        return 2, 3, 4
    return (4, 2, 3) if array.shape[4] == 3 else None


def _placed(images: Floats, kind: Kind, random: np.random.Generator) -> Floats:
    """Mirror and move [images, channels, rows, columns]."""
    flipped = random.random(len(images)) < 0.5
    images = np.where(flipped[:, None, None, None], images[..., ::-1], images)
    return images if kind == "flip" else _moved(images, random)


def _poorer(images: Floats, scale: Scale, random: np.random.Generator) -> Floats:
    """Change the tone, sharpness and noise of [images, channels, rows, columns]."""
    count = len(images)

    def evenly(low: float, high: float, channels: int = 1) -> Floats:
        return random.uniform(low, high, (count, channels, 1, 1)).astype(np.float32)

    middle = images.mean(axis=(1, 2, 3), keepdims=True)
    tone = _BRIGHTNESS * evenly(-1, 1) + _COLOUR * evenly(-1, 1, images.shape[1])
    images = middle + (images - middle) * (1 + _CONTRAST * evenly(-1, 1)) + scale.deviation * tone
    images = images + evenly(-_SOFTER, _SHARPER) * (images - _softened(images))
    noise = random.standard_normal(images.shape, np.float32)
    images = images + _NOISE * scale.deviation * evenly(0, 1) * noise
    return np.clip(images, scale.low, scale.high)


def _moved(images: Floats, random: np.random.Generator) -> Floats:
    rows, columns = images.shape[2:]
    most = [max(1, int(size * _SHIFT)) for size in (rows, columns)]
    padded = np.pad(images, [(0, 0), (0, 0), *((m, m) for m in most)], mode="reflect")
    starts = random.integers(0, [2 * m + 1 for m in most], (len(images), 2))
    cut = [p[:, y : y + rows, x : x + columns] for p, (y, x) in zip(padded, starts.tolist(), strict=True)]
    return np.stack(cut)


def _softened(images: Floats) -> Floats:
    """Means of 3 x 3 pixels."""
    for axis in (2, 3):
        edge = [(1, 1) if i == axis else (0, 0) for i in range(4)]
        wide = np.pad(images, edge, mode="edge")
        parts = [np.take(wide, range(i, i + images.shape[axis]), axis) for i in range(3)]
        images = (parts[0] + parts[1] + parts[2]) / np.float32(3)
    return images


def _mixed(
    numbers: Floats,
    axes: tuple[int, int, int] | None,
    partner: Array,
    share: Floats,
    how: Array,
    random: np.random.Generator,
) -> Floats:
    """Leave a third as it is, lay a third over its partners, and cut parts of these into the last third."""
    other = numbers[partner]
    weight = share.reshape(-1, *[1] * (numbers.ndim - 1))
    found = numbers.copy()
    over = how == 1
    found[over] = (weight * numbers + (1 - weight) * other)[over]
    for index in np.flatnonzero(how == 2):
        window = _window(numbers.shape, axes, random)
        found[index][window] = other[index][window]
    return found


def _window(
    shape: tuple[int, ...], axes: tuple[int, int, int] | None, random: np.random.Generator
) -> tuple[slice, ...]:
    """A part of one sample: a rectangle of an image, else a stretch of the longest axis."""
    along = axes[1:] if axes is not None else (int(np.argmax(shape[1:])) + 1,)
    window = [slice(None)] * (len(shape) - 1)
    for axis in along:
        size = shape[axis]
        length = max(1, round(size * (0.25 + 0.5 * random.random())))
        start = int(random.integers(0, size - length + 1))
        window[axis - 1] = slice(start, start + length)
    return tuple(window)


def _typed(numbers: Floats, dtype: np.dtype[Any]) -> Array:
    if np.issubdtype(dtype, np.floating):
        return np.ascontiguousarray(numbers, dtype)
    limits = np.iinfo(dtype)
    return np.ascontiguousarray(np.clip(np.rint(numbers), limits.min, limits.max), dtype)
