"""Names of the ways in which a tensor is sent: ``int8{axis=channel}``, ``klt-dct{step=0.5}``.

| kind | what is sent |
|---|---|
| the tensor's own type | the tensor as the edge kernel holds it |
| ``float16`` | half precision |
| ``int8``, ``int4`` | affine integers, one scale for the tensor or (``axis=channel``) for each channel |
| ``step`` | multiples of a step, which is given in standard deviations of the tensor |
| ``klt``, ``dct``, ``klt-dct`` | of its decorrelated channels, of its spectrum along space or time, of both |

``coder`` is what makes bytes of integers: ``none``, ``zlib``, ``lzma``, or ``rans`` with static tables.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from edgecut.ir.errors import UsageError

Axis = Literal["tensor", "channel"]
Coder = Literal["none", "zlib", "lzma", "rans"]

TRANSFORMS = ("step", "klt", "dct", "klt-dct")
INTEGERS = ("int8", "int4")
HELD = (
    "float32",
    "float64",
    "int8",
    "uint8",
    "int16",
    "int32",
    "int64",
    "uint16",
    "uint32",
    "uint64",
    "bool",
)
_TEXT = re.compile(r"([a-z0-9-]+)(?:\{([^{}]*)\})?")


@dataclass(frozen=True)
class Spec:
    """One encoding."""

    kind: str
    step: float = 0.0
    """Of the transforms."""
    axis: Axis = "tensor"
    """Of int8 and int4."""
    coder: Coder = "none"

    @property
    def klt(self) -> bool:
        """Whether the channels are decorrelated."""
        return self.kind.startswith("klt")

    @property
    def dct(self) -> bool:
        """Whether the spectrum is sent."""
        return self.kind.endswith("dct")

    def __str__(self) -> str:
        shown = {}
        if self.kind in TRANSFORMS:
            shown["step"] = f"{self.step:g}"
        if self.axis != "tensor":
            shown["axis"] = self.axis
        if self.coder != _default(self.kind):
            shown["coder"] = self.coder
        options = ",".join(f"{k}={v}" for k, v in shown.items())
        return f"{self.kind}{{{options}}}" if options else self.kind


def held(dtype: str) -> Spec:
    """Sending a tensor as it is."""
    return Spec(dtype)


def parse(text: str) -> Spec:
    """The encoding of this name; `str` gives the name back, in canonical form.

    Raises:
        UsageError: There is no such encoding.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None or match[1] not in (*TRANSFORMS, *INTEGERS, *HELD, "float16"):
        kinds = ", ".join(("float16", *INTEGERS, *TRANSFORMS))
        raise UsageError(f"there is no encoding {text!r}", hint=f"{kinds}; such as klt-dct{{step=0.5}}")
    kind, options = match[1], _options(text, match[2] or "")
    step = _step(text, options.pop("step", "")) if kind in TRANSFORMS else 0.0
    axis = options.pop("axis", "tensor") if kind in INTEGERS else "tensor"
    coder = options.pop("coder", _default(kind))
    if options:
        raise UsageError(f"{kind} has no option {next(iter(options))!r}", where=text)
    if axis not in get_args(Axis) or coder not in get_args(Coder):
        raise UsageError("axis is tensor or channel, coder none, zlib, lzma or rans", where=text)
    return Spec(kind, step, cast(Axis, axis), cast(Coder, coder))


def _options(text: str, inside: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in inside.split(",") if part.strip()]
    found = {key.strip(): value.strip() for key, _, value in pairs}
    if len(found) != len(pairs):
        raise UsageError("gives an option twice", where=text)
    return found


def _step(text: str, value: str) -> float:
    try:
        # As it is printed, so that a name and what it means are one.
        step = float(f"{float(value):g}")
    except ValueError:
        step = math.nan
    if not 0 < step < 1e4:
        raise UsageError("needs a step above 0", where=text, hint="in standard deviations: step=0.5")
    return step


def _default(kind: str) -> Coder:
    return "rans" if kind in (*TRANSFORMS, "int4") else "none"
