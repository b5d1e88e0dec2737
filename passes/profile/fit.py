"""Refuses devices that a model can never fit."""

from __future__ import annotations

from edgecut.ir import work
from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program
from edgecut.targets.spec import Device

MB = 1 << 20


def check(program: Program, device: Device) -> None:
    """Check a device that holds the whole model in its firmware: a microcontroller.

    Raises:
        ConstraintError: The weights are larger than its flash, or the activations than its memory.
    """
    if device.flash_mb is None:
        return
    _fits(program.weight_bytes(), device.flash_mb, f"{device.name} flash", "weights")
    _fits(work.peak_activation_bytes(program), device.memory_mb, f"{device.name} memory", "activations")


def _fits(needed: int, limit_mb: float, what: str, of: str) -> None:
    if needed > limit_mb * MB:
        text = f"the model needs {needed / MB:.1f} MB for its {of}, and {what} is {limit_mb:g} MB"
        raise ConstraintError(text, hint="quantize or prune it, or choose another --edge")
