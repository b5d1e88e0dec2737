"""Which two of every four weights can go, and what the others make up for.

Optimal brain surgery along the features, as SparseGPT does it (Frantar and Alistarh, "SparseGPT: Massive
Language Models Can Be Accurately Pruned in One-Shot", 2023): the two of each four whose loss costs the least
squared error leave, and the weights after them, the bias last, take over what they did. At the end all that
are left are fitted together, by conjugate gradients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgecut.targets.onnx.sparsity import FOUR, LEFT, fours

Floats = NDArray[np.float64]

# Steps of conjugate gradients; more change the error by less than what samples held out can tell.
STEPS = 100


def by_magnitude(array: NDArray[np.float32], along: int) -> NDArray[np.float32]:
    """A copy of a weight in which the two smaller ones of every four along an axis are zero."""
    found = np.moveaxis(array, along, -1).copy()
    view = fours(found, -1)
    np.put_along_axis(view, np.argsort(np.abs(view), axis=-1, kind="stable")[..., : FOUR - LEFT], 0, axis=-1)
    return np.ascontiguousarray(np.moveaxis(view.reshape(found.shape), -1, along))


def order(channels: int, taps: int) -> NDArray[np.int64]:
    """Positions of features, channels times taps, so that four channels at the same tap are consecutive."""
    at = np.arange(channels * taps).reshape(channels // FOUR, FOUR, taps)
    return at.transpose(0, 2, 1).reshape(-1)


def eliminate(weight: Floats, moments: Floats, at: NDArray[np.int64]) -> Floats:
    """Zero two of every four weights, and let the others make up for it.

    Args:
        weight: [features + 1, results], the last row the bias.
        moments: [features + 1, features + 1], positive definite: what is read, times itself.
        at: Positions of the features in the order in which they are looked at, as of `order`.

    Returns:
        Like ``weight``.
    """
    places = np.append(at, len(weight) - 1)
    left, upper = weight[places].copy(), _factor(moments[np.ix_(places, places)])
    for start in range(0, len(at), FOUR):
        stop = start + FOUR
        cost = np.square(left[start:stop] / np.diag(upper)[start:stop, None])
        gone = np.zeros(cost.shape, bool)
        np.put_along_axis(gone, np.argsort(cost, axis=0, kind="stable")[: FOUR - LEFT], True, axis=0)
        errors = np.zeros(cost.shape)
        for i in range(FOUR):
            row = start + i
            errors[i] = np.where(gone[i], left[row] / upper[row, row], 0)
            left[row:stop] -= np.outer(upper[row, row:stop], errors[i])
            left[row, gone[i]] = 0
        left[stop:] -= upper[start:stop, stop:].T @ errors
    found = np.empty_like(weight)
    found[places] = left
    return _settle(found, weight, moments)


def _settle(found: Floats, weight: Floats, moments: Floats) -> Floats:
    """Fit what is not zero, all together, to the results of the dense weights; column by column at once."""
    free = found != 0
    free[-1] = True
    scale = 1 / np.diag(moments)[:, None]
    residual = np.where(free, moments @ (weight - found), 0)
    step = residual * scale
    power = np.sum(residual * step, axis=0)
    for _ in range(STEPS):
        across = np.where(free, moments @ step, 0)
        length = power / np.maximum(np.sum(step * across, axis=0), 1e-300)
        found, residual = found + length * step, residual - length * across
        last, power = power, np.sum(np.square(residual) * scale, axis=0)
        step = residual * scale + power / np.maximum(last, 1e-300) * step
    return found


def _factor(moments: Floats) -> Floats:
    """Upper U with U'U the inverse: row i serves the elimination of i when all before it are settled."""
    from scipy.linalg import solve_triangular

    lower = np.linalg.cholesky(moments[::-1, ::-1])
    return np.ascontiguousarray(
        solve_triangular(lower, np.eye(len(lower)), lower=True, check_finite=False)[::-1, ::-1]
    )
