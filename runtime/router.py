"""Whether the edge is sure enough of its answer to give it without asking the cloud."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

import numpy as np

from edgecut.ir.manifest import CutRecord, Manifest, RouterRecord


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


def routed(manifest: Manifest) -> Optional[str]:
    """Name of the cut that is routed, if there is one."""
    return manifest.router.cut if manifest.router is not None else None


def choose(manifest: Manifest, size: int) -> Optional[CutRecord]:
    """The cut of a request, where the build has a router.

    Args:
        manifest: The build.
        size: Bytes of the inputs as they came.
    """
    router = manifest.router
    if router is None:
        return None
    large = router.straight is not None and router.max_bytes is not None and size > router.max_bytes
    return manifest.cut(router.straight if large and router.straight else router.cut)
