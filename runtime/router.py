"""Whether the edge is sure enough of its answer to give it without asking the cloud."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgecut.ir.manifest import RouterRecord


def margin(scores: np.ndarray) -> float:
    """Difference of the two highest of a row of class scores, be they probabilities or logits.

    NaN where one of them is no number: no threshold is at or below that.
    """
    flat = scores.astype(np.float64).ravel()
    if np.isnan(flat).any():
        return float("nan")
    second, first = np.partition(flat, -2)[-2:]
    return float(first - second)


def is_sure(router: RouterRecord, outputs: Mapping[str, np.ndarray]) -> bool:
    """Whether these outputs of the edge are the answer."""
    return margin(outputs[router.scores]) >= router.threshold


def goes_straight(router: RouterRecord, inputs: Mapping[str, np.ndarray]) -> bool:
    """Whether these inputs are too large to be tried on the edge."""
    if router.straight is None or router.max_bytes is None:
        return False
    return sum(array.nbytes for array in inputs.values()) > router.max_bytes
