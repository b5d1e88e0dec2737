"""Inputs altered for training: of the same kind, different each time, and repeatable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecut.passes.augment import Kind
from edgecut.passes.augment.views import Scale, batch

COUNT = 24


def inputs(*shape: int, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.integers(0, 256, (COUNT, *shape)).astype(dtype)}


def altered(arrays: dict[str, np.ndarray], kind: Kind = "auto", seed: int = 1) -> np.ndarray:
    scales = {name: Scale.of(array) for name, array in arrays.items()}
    return batch(arrays, np.arange(COUNT), kind, scales, [seed])[1]["x"]


@pytest.mark.parametrize("shape", [(1, 3, 12, 16), (1, 12, 16, 3), (1, 1, 300), (1, 49, 10, 1), (1, 8)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_floats_stay_what_they_are_and_where_they_were(shape: tuple[int, ...], dtype: Any) -> None:
    given = inputs(*shape, dtype=dtype)
    found = altered(given)
    assert (found.shape, found.dtype) == (given["x"].shape, given["x"].dtype)
    assert found.min() >= 0
    assert found.max() <= 255
    assert not np.array_equal(found, given["x"])


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    given = inputs(1, 12, 16, 3)
    assert np.array_equal(altered(given), altered(given))
    assert not np.array_equal(altered(given), altered(given, seed=2))


def test_pixels_stay_bytes() -> None:
    found = altered(inputs(1, 12, 16, 3, dtype=np.uint8))
    assert found.dtype == np.uint8


def test_words_are_left_alone() -> None:
    given = inputs(1, 16, dtype=np.int64)
    assert np.array_equal(altered(given), given["x"])


def test_flip_only_mirrors() -> None:
    given = inputs(1, 12, 16, 3)
    found = altered(given, "flip")
    mirrored = [np.array_equal(f, g[:, :, ::-1]) for f, g in zip(found, given["x"], strict=True)]
    same = [np.array_equal(f, g) for f, g in zip(found, given["x"], strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert any(mirrored)
    assert any(same)
    assert np.array_equal(altered(given, "none"), given["x"])


def test_what_is_no_image_is_mixed_from_two_samples() -> None:
    """Each number of a sample lies between those of two samples."""
    given = {"x": np.arange(COUNT, dtype=np.float32).reshape(COUNT, 1, 1) * np.ones((1, 1, 40), np.float32)}
    found = altered(given)[:, 0]
    cut = [row for row in found if len(set(row.tolist())) == 2]
    assert cut, "a stretch of another sample"
    assert any(len(set(row.tolist())) == 1 and row[0] % 1 for row in found), "laid over another sample"
    assert all(len(set(row.tolist())) <= 2 for row in found)


def views(arrays: dict[str, np.ndarray], seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    scales = {name: Scale.of(array) for name, array in arrays.items()}
    seen, given = batch(arrays, np.arange(COUNT), "auto", scales, [seed])
    return seen["x"], given["x"]


def test_the_original_sees_some_images_better_and_the_others_alike() -> None:
    pairs = [views(inputs(1, 12, 16, 3), seed) for seed in range(8)]
    same = np.array([[np.array_equal(a, b) for a, b in zip(*pair, strict=True)] for pair in pairs]).mean()
    # An eighth of the images is poorer; two thirds are mixed of two, of which either may be: 1/3 * 7/8 and
    # 2/3 * 49/64 are 0.80, with a standard error of 0.03 among 192.
    assert 0.7 < same < 0.9


def test_both_see_numbers_that_are_no_images_alike() -> None:
    seen, given = views(inputs(1, 1, 300))
    assert np.array_equal(seen, given)


def test_the_original_sees_no_pixel_that_was_not_in_the_data() -> None:
    """Mirrored, moved and cut: every value of an image that is not laid over another is of the data."""
    given = {"x": np.arange(COUNT * 12 * 16 * 3, dtype=np.float32).reshape(COUNT, 1, 12, 16, 3)}
    seen, _ = views(given)
    whole = [np.isin(image, given["x"]).all() for image in seen]
    # A third is laid over others; of 24 images hardly ever half.
    assert sum(whole) > COUNT / 2
