"""What is known of graph inputs and of tensors that may cross the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from edgecut.ir.annotations.base import Annotation, Level


@dataclass(frozen=True)
class Upload:
    """Mean bytes of one input when it is sent to the cloud as it is, per encoding."""

    float32: int
    uint8: int | None = None
    jpeg: int | None = None
    jpeg_quality: int | None = None


@dataclass(frozen=True)
class ImageInput(Annotation):
    """A graph input declared an image: raw uint8 NHWC pixels, normalized inside the graph."""

    KEY: ClassVar[str] = "edgecut.image"
    LEVEL: ClassVar[Level] = "value"

    mean: tuple[float, ...]
    """Per channel, subtracted from the pixel, in pixel units (0..255)."""
    std: tuple[float, ...]
    """Per channel, divides what is left, in pixel units."""
    upload: Upload | None = None


@dataclass(frozen=True)
class Wire(Annotation):
    """How a value crosses the network: in the layout and type that the edge kernel produces."""

    KEY: ClassVar[str] = "edgecut.wire"
    LEVEL: ClassVar[Level] = "value"

    dtype: str
    shape: tuple[int, ...]
    perm: tuple[int, ...] = ()
    """``wire = transpose(value, perm)``; empty where the layouts agree."""


@dataclass(frozen=True)
class Encoding:
    """One way to send a value. Figures are of calibration data that the coder was not fitted to."""

    name: str
    """Canonical text, such as ``float32``, ``int8`` or ``klt-dct{step=0.5}`` (`edgecut.ir.encoding`)."""
    mean_bytes: int
    """Of one request's tensor, as it is sent."""
    p95_bytes: int
    """Nineteen of twenty requests take no more."""
    agreement: float | None = None
    """Share of equal top-1 answers with the tensor sent as it is; None without class scores."""
    sqnr_db: float = 200.0
    """Signal to noise of the worst model output, in dB."""
    accuracy: float | None = None
    """Share of right answers; None without labels."""
    encode_s: float = 0.0
    """On the edge target, beyond what sending the tensor as it is takes; linear parts included."""
    decode_s: float = 0.0
    """On the cloud target, likewise."""


@dataclass(frozen=True)
class Encodings(Annotation):
    """The ways in which a value may be sent, the one as it is held first (`edgecut.passes.boundary`)."""

    KEY: ClassVar[str] = "edgecut.encodings"
    LEVEL: ClassVar[Level] = "value"

    table: tuple[Encoding, ...]
    samples: int = 0
    """Samples that the figures are of."""


@dataclass(frozen=True)
class Divided(Annotation):
    """Which of the calibration data the pass ``boundary`` has judged its encodings on."""

    KEY: ClassVar[str] = "edgecut.divided"
    LEVEL: ClassVar[Level] = "model"

    total: int
    """Samples that the data hold."""
    report: tuple[int, ...]
    """Indices of those that no coder was fitted to."""


@dataclass(frozen=True)
class Coder:
    """What makes integers of a value, and codes them."""

    low: int
    high: int
    """Integers are kept between these."""
    tables: str = ""
    """Static tables of the entropy coder, as text (`edgecut.runtime.tables`); empty: it has none."""


@dataclass(frozen=True)
class Coding(Annotation):
    """Statistics of a value on calibration data, and the coders that were fitted to it."""

    KEY: ClassVar[str] = "edgecut.coding"
    LEVEL: ClassVar[Level] = "value"

    channel: int
    """Axis of the channels; every other one but the batch's is along space or time."""
    deviation: float
    """Standard deviation of the whole value around its means: the unit of steps."""
    mean: str
    """Per channel, as text (`edgecut.ir.transform`)."""
    least: str
    greatest: str
    basis: str = ""
    """Rows that decorrelate the channels (Karhunen-Loeve); empty where too little was seen.

    They are orthonormal in units of the answer's sensitivity, where that was measured."""
    weights: str = ""
    """Per channel, what its numbers are multiplied by where channels are not mixed; empty: 1."""
    emphasis: tuple[str, ...] = ()
    """Per axis along space or time the same for its frequencies; empty: 1."""
    coders: dict[str, Coder] = field(default_factory=dict)
    """By the name of the encoding."""


@dataclass(frozen=True)
class Privacy(Annotation):
    """The private inputs that a value which leaves the device was derived from, by their labels."""

    KEY: ClassVar[str] = "edgecut.privacy"
    LEVEL: ClassVar[Level] = "value"

    labels: tuple[str, ...]
