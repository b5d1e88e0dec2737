"""Which slopes and scales LEAKY_RELU on int8 has, held against the kernel itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecut.targets.tflite import leaky, lir, pack
from edgecut.targets.tflite.lir import Quant

EVERY = np.arange(-128, 128, dtype=np.int8)
ZEROS = (-100, -7)
"""Of the input and of the result."""


def _kernel(before: float, after: float, slope: float) -> Any:
    """What LiteRT makes of every integer."""
    from ai_edge_litert.interpreter import Interpreter

    scales = [np.array([s], np.float32) for s in (before, after)]
    quants = [Quant(s, np.array([z], np.int64)) for s, z in zip(scales, ZEROS, strict=True)]
    x = lir.Tensor((1, 16, 16, 1), np.dtype(np.int8), quant=quants[0])
    (y,) = lir.emit("LEAKY_RELU", [x], [x.shape], [np.int8], frozenset(), {"alpha": slope})
    y.quant = quants[1]
    data = pack.pack([pack.Signature("run", {"x": x}, {"y": y})], {}, {})
    runner = Interpreter(model_content=data, num_threads=1).get_signature_runner("run")
    return runner(x=EVERY.reshape(x.shape))["y"].ravel()


@pytest.mark.parametrize("slope", [0.01, 0.1, 0.125, 0.3, 0.7])
@pytest.mark.parametrize("wanted", [0.8, 1.0, 1.7])
def test_the_kernel_has_the_slope_and_rounds_halves_upwards(slope: float, wanted: float) -> None:
    ratio = leaky.ratio(wanted, slope, above=True)
    assert ratio is not None
    assert wanted <= ratio <= 1.05 * wanted
    own = leaky.slope(ratio, slope)
    assert leaky.exact(ratio, own)
    steps = (EVERY.astype("f8") - ZEROS[0]) * ratio
    rounded = np.floor(np.where(steps < 0, steps * own, steps) + 0.5) + ZEROS[1]
    made = _kernel(0.05, 0.05 / ratio, own)
    np.testing.assert_array_equal(made, np.clip(rounded, -128, 127))


@given(st.floats(0.1, 4), st.floats(0.005, 1), st.booleans())
def test_the_slope_moves_by_less_than_half_a_step_at_the_end_of_the_range(
    wanted: float, slope: float, above: bool
) -> None:
    ratio = leaky.ratio(wanted, slope, above=above)
    if ratio is not None:
        assert (ratio >= wanted * (1 - 1e-3)) if above else (ratio <= wanted * (1 + 1e-3))
        assert abs(leaky.slope(ratio, slope) - slope) * ratio * 255 <= 0.5


def test_other_scales_and_slopes_are_left_alone() -> None:
    assert not leaky.exact(0.999, 0.1)
    assert leaky.slope(0.999, 0.1) == 0.1
    assert leaky.slope(1.0, 0.001) == 0.001  # its multiplier would be nothing
