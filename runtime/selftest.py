"""Does this build run on this device?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from edgecut.ir.errors import EdgecutError
from edgecut.runtime import timing
from edgecut.runtime.device import Device


@dataclass(frozen=True)
class Result:
    """How one cut went."""

    cut: str
    error: Optional[str]
    """None where it gave every output in its declared shape and type, and finite."""


def run(device: Device) -> list[Result]:
    """Run every cut once on random inputs; one that needs the server needs it to be there."""
    inputs = timing.random_inputs(device.manifest)
    return [Result(cut.name, _error(device, cut.name, inputs)) for cut in device.manifest.cuts]


def _error(device: Device, cut: str, inputs: dict[str, np.ndarray]) -> Optional[str]:
    try:
        outputs = device.attempt(inputs, cut).outputs
    except EdgecutError as error:
        return str(error)
    broken = [n for n, a in outputs.items() if a.dtype.kind == "f" and not np.isfinite(a).all()]
    return f"output {broken[0]!r} is not finite" if broken else None
