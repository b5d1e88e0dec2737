"""Losses and how they bend, by torch's own derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecut.passes.divergence import TEMPERATURE
from edgecut.passes.finetune.aims import Aim, Divergence, Squares

torch = pytest.importorskip("torch")


def aims() -> list[Aim]:
    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 6)))
    return [Divergence(), Squares(0.3), Squares(2.0, -2, matrix)]


def values(aim: Aim, seed: int) -> tuple[Any, Any]:
    """Of the taught network, with 3 channels where they are mapped, and of the original with 6."""
    random = np.random.default_rng(seed)
    mapped = isinstance(aim, Squares) and aim.map is not None
    sizes = ((2, 3, 5), (2, 6, 5)) if mapped else ((2, 3, 5), (2, 3, 5))
    first, second = (torch.from_numpy(random.standard_normal(s)) for s in sizes)
    return first, second


@pytest.mark.parametrize("aim", aims())
def test_the_curvature_is_the_second_derivative(aim: Aim) -> None:
    tensor, wanted = values(aim, 1)
    found = aim.found(tensor).detach()
    along = torch.from_numpy(np.random.default_rng(2).standard_normal(found.shape))
    _, expected = torch.autograd.functional.hvp(lambda f: aim.loss(f, aim.wanted(wanted)), found, along)
    # Doubles; the derivative of the divergence does not hang on what is wanted.
    assert torch.allclose(aim.bent(found, along), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("aim", aims())
def test_the_noise_has_the_curvature_as_its_covariance(aim: Aim) -> None:
    found = aim.found(values(aim, 1)[0])
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([aim.noise(found, generator).ravel() for _ in range(4000)]).double()
    eye = torch.eye(found.numel(), dtype=torch.float64)
    exact = torch.stack([aim.bent(found, row.reshape(found.shape)).ravel() for row in eye])
    # Of 4000 draws a covariance is off by some 1/63 of the variances; the largest of 900 by four times that.
    assert (draws.T @ draws / len(draws) - exact).abs().max() < 0.1 * exact.max()


@pytest.mark.parametrize("aim", aims())
def test_samples_add_up(aim: Aim) -> None:
    tensor, wanted = values(aim, 3)
    each = [
        aim.loss(aim.found(t), aim.wanted(w)) for t, w in zip(tensor.split(1), wanted.split(1), strict=True)
    ]
    assert torch.allclose(sum(each), aim.loss(aim.found(tensor), aim.wanted(wanted)))


def test_a_divergence_is_that_of_softmax() -> None:
    first, second = values(Divergence(), 4)
    p, q = ((t / TEMPERATURE).softmax(-1) for t in (second, first))
    expected = TEMPERATURE**2 * (p * (p / q).log()).sum() / 3  # rows of each sample
    assert torch.allclose(Divergence().loss(first, second), expected)


def test_squares_are_of_what_a_map_makes_of_the_channels_that_are_left() -> None:
    aim = aims()[2]
    tensor, wanted = values(aim, 5)
    assert isinstance(aim, Squares)
    assert aim.map is not None
    mapped = np.einsum("ncl,co->nol", tensor.numpy(), aim.map[:-1].numpy()) + aim.map[-1].numpy()[:, None]
    expected = 2.0 * np.square(mapped - wanted.numpy()).mean(axis=(1, 2)).sum()
    assert float(aim.loss(aim.found(tensor), aim.wanted(wanted))) == pytest.approx(expected)
