"""What quantization did to a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from edgecut.ir.annotations.base import Annotation, Level


@dataclass(frozen=True)
class Quantization(Annotation):
    """Summary of the quantization of the whole model (the figures themselves are the QDQ nodes).

    A program of the scheme ``int8-dynamic`` is that of ``int8-weights``, but its kernels are to quantize what
    they read while they run.
    """

    KEY: ClassVar[str] = "edgecut.quantization"
    LEVEL: ClassVar[Level] = "model"

    scheme: str
    samples: int
    original: str = ""
    """Key in the store (`edgecut.ir.store`) of the float program, whose nodes have the same names."""


@dataclass(frozen=True)
class Sensitivity(Annotation):
    """What integers do to one kernel: its error, what they save, and whether it has them.

    It stands on the last node of those that the kernel computes. Relative noise powers of independent
    kernels, ``10 ** (-output_sqnr_db / 10)``, add up at the outputs.
    """

    KEY: ClassVar[str] = "edgecut.sensitivity"
    LEVEL: ClassVar[Level] = "node"

    nodes: tuple[str, ...]
    """Names of what the kernel computes."""
    node_sqnr_db: float
    """Signal to quantization noise of what the kernel gives, itself alone in integers; 200 for one without
    weights, which runs on integers only where others do before it."""
    output_sqnr_db: float
    """The same of the worst graph output."""
    agreement: float | None
    """Share of samples with the same top-1, itself alone in integers; None without class scores."""
    saved_s: float
    """Seconds on the edge target by which integers are faster (below 0: slower)."""
    known: Literal["measured", "predicted", "estimated"]
    """How the time is known; estimated: from operations alone, without a target."""
    integer: bool
    """Whether the kernel runs on integers in this program."""
    reason: str
    """Why not, or why although it is not faster."""
