"""Ranges are found in bounded memory, and outliers are cut off where that helps."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program
from edgecut.passes.quantize import calibrate, clipping
from edgecut.passes.quantize.calibrate import ranges


def samples(count: int = 20) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    return [{"image": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]


def test_minmax_is_the_extremes_over_all_samples(residual: Program) -> None:
    data = samples()
    found = ranges(residual, ["image", "ra"], data)
    stacked = np.concatenate([s["image"] for s in data])
    assert found["image"] == (stacked.min(), stacked.max())
    assert found["ra"][0] == 0


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy", "mse"])
def test_watching_few_values_at_a_time_finds_the_same(
    residual: Program, monkeypatch: pytest.MonkeyPatch, method: calibrate.Method
) -> None:
    names = ["image", "ra", "s", "c", "scores"]
    whole = ranges(residual, names, samples(), method)
    monkeypatch.setattr(calibrate, "WATCHED_BYTES", 10_000)
    assert calibrate.passes_over(residual, names, "minmax") > 2
    assert ranges(residual, names, samples(), method) == whole


def histogram(numbers: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    span = float(numbers.min()), float(numbers.max())
    return np.histogram(numbers, calibrate.BINS, span)[0], span


def error(numbers: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / 255
    rounded = np.clip(np.rint((numbers - low) / step), 0, 255) * step + low
    return float(np.mean((numbers - rounded) ** 2))


def test_mse_finds_about_the_best_range() -> None:
    numbers = np.random.default_rng(0).standard_t(3, 100_000)
    counts, span = histogram(numbers)
    low, high = clipping.clip(counts, span, "mse", 0)
    shares = np.linspace(0.02, 1, 50)
    best = min(error(numbers, span[0] * s, span[1] * t) for s in shares for t in shares)
    # The search is on a coarse grid of ranges and sees a histogram of 2048 bins only.
    assert error(numbers, low, high) < 1.2 * best


def test_percentile_keeps_that_share() -> None:
    numbers = np.random.default_rng(0).standard_normal(100_000)
    counts, span = histogram(numbers)
    low, high = clipping.clip(counts, span, "percentile", 99.0)
    kept = np.mean((numbers >= low) & (numbers <= high))
    # A bin of 2048 at the edge of a normal distribution holds less than 0.1 % of it.
    assert kept == pytest.approx(0.99, abs=0.002)


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_an_even_distribution_is_not_clipped(method: str) -> None:
    counts = np.full(calibrate.BINS, 100)
    low, high = clipping.clip(counts, (0.0, 1.0), method, 99.99)
    # One step of the search is 2 %.
    assert high - low > 0.97


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_a_constant_has_its_own_range(method: str) -> None:
    counts = np.zeros(calibrate.BINS, np.int64)
    counts[0] = 5
    assert clipping.clip(counts, (2.0, 2.0), method, 99.99) == (2.0, 2.0)


def test_symmetric_levels_are_cut_at_both_ends_alike() -> None:
    numbers = np.abs(np.random.default_rng(0).standard_t(3, 100_000))
    counts, span = histogram(numbers)
    low, high = clipping.clip(counts, span, "mse", 0, clipping.Levels(254, symmetric=True))
    assert low == -high
    # Half of the levels are never used by numbers that are all positive: more is worth cutting off.
    assert high < clipping.clip(counts, span, "mse", 0)[1]


def test_many_levels_cut_nothing_off() -> None:
    counts, span = histogram(np.random.default_rng(0).standard_t(3, 100_000))
    _, high = clipping.clip(counts, span, "mse", 0, clipping.Levels(65534, symmetric=True))
    assert high >= 0.95 * max(abs(span[0]), abs(span[1]))


def test_memory_does_not_grow_with_the_number_of_samples(residual: Program) -> None:
    """Arrays alive at once, over many more samples; ONNX Runtime's own memory is in the benchmark."""

    def stream(count: int) -> Iterator[dict[str, np.ndarray]]:
        rng = np.random.default_rng(0)
        return ({"image": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(count))

    class Stream:
        def __init__(self, count: int) -> None:
            self.count = count

        def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
            return stream(self.count)

    def peak(count: int) -> int:
        tracemalloc.start()
        ranges(residual, ["image", "ra", "s", "cat"], Stream(count), "mse")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)  # what is imported and cached on first use
    few, many = peak(10), peak(300)
    # Each sample and its values are 50 kB; 290 more would be 14 MB. What is left is noise of the allocator.
    assert many < few + 500_000


def test_a_value_that_becomes_nan_is_named(build: Callable[..., Program]) -> None:
    weight = np.ones((2, 2), np.float32)
    program = build("net (float[1,2] x) => (float[1,2] y) { l = Log(x)  y = MatMul(l, w) }", w=weight)
    with pytest.raises(ModelError, match=r"^l: becomes NaN"):
        ranges(program, ["l"], [{"x": np.full((1, 2), -1, np.float32)}])
