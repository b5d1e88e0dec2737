"""Grids hold what they promise for any range and any weights."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgecut.passes.quantize import grid

# Ranges of activations that occur, down to numbers that are all but zero.
bounds = st.floats(-1e4, 1e4, width=32)


@given(bounds, bounds)
def test_every_number_of_the_range_is_within_half_a_step(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    own = grid.asymmetric(low, high)
    values = np.linspace(low, high, 101, dtype=np.float32)
    back = (own.quantize(values).astype(np.float64) - own.zero_point) * own.scale
    # Half a step from rounding, and another half where the zero point itself was rounded to the grid.
    assert np.abs(back - values).max() <= own.scale * 1.001


@given(bounds, bounds)
def test_zero_is_exact(a: float, b: float) -> None:
    own = grid.asymmetric(min(a, b), max(a, b))
    assert own.quantize(np.zeros(1, np.float32))[0] == own.zero_point


@given(st.integers(0, 2**32 - 1), st.floats(1e-8, 1e3))
def test_weights_and_biases_fit_their_integers(seed: int, step: float) -> None:
    rng = np.random.default_rng(seed)
    # Channels of very different sizes, one of them dead but for its bias.
    weight = (rng.standard_normal((5, 3)) * 10.0 ** rng.uniform(-8, 3, (5, 1))).astype(np.float32)
    weight[2] = 0
    bias = (rng.standard_normal(5) * 10.0 ** rng.uniform(-6, 4, 5)).astype(np.float32)
    scales = grid.channel_scales(weight, 0, bias, step)
    rounded = grid.quantize_weight(weight, scales, 0)
    assert (scales > 0).all()
    assert np.abs(rounded).max() <= 127
    stored = grid.quantize_bias(bias, scales * np.float32(step))
    # float32 products of scales are good to 1e-6; one step of rounding on top.
    assert np.allclose(
        stored * scales.astype(float) * step, bias, rtol=2e-6, atol=float((scales * step).max())
    )


def test_a_weight_scale_is_the_largest_weight_over_127() -> None:
    weight = np.array([[1.27, -0.5], [0.1, -12.7]], np.float32)
    assert np.allclose(grid.channel_scales(weight, 0, None, 1.0), [0.01, 0.1], rtol=1e-6)
    assert np.allclose(grid.channel_scales(weight, 1, None, 1.0), [0.01, 0.1], rtol=1e-6)
