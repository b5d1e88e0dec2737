"""What edgecut knows about a model, node or value, as typed records in ``metadata_props``.

This module is the only reader and writer of those properties. Each record is one frozen dataclass,
stored as JSON text under its ``KEY``; the version of all of them is `SCHEMA`, kept on the model.
Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from edgecut.ir import typed
from edgecut.ir.errors import ModelError
from edgecut.ir.manifest import Prices, TensorRtRecord

SCHEMA = "1"
SCHEMA_KEY = "edgecut.schema"
PREFIX = "edgecut."

Side = Literal["edge", "cloud"]
Level = Literal["model", "node", "value"]


class Annotated(Protocol):
    """An `onnx_ir` model, node or value."""

    @property
    def metadata_props(self) -> dict[str, str]:
        """ONNX's own string properties."""
        ...


@dataclass(frozen=True)
class Annotation:
    """Base of all records; a subclass names its key and the level it is found on."""

    KEY: ClassVar[str]
    LEVEL: ClassVar[Level]


A = TypeVar("A", bound=Annotation)


@dataclass(frozen=True)
class Source(Annotation):
    """Where the model came from."""

    KEY: ClassVar[str] = "edgecut.source"
    LEVEL: ClassVar[Level] = "model"

    file: str
    """File name, without its folder."""
    sha256: str
    """Hash of the file (of all files in it, for a SavedModel folder)."""
    frontend: str


@dataclass(frozen=True)
class Step:
    """One pass that was run, as its pipeline text, and what it reported."""

    text: str
    version: int
    metrics: dict[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class History(Annotation):
    """The passes that made this program, in order."""

    KEY: ClassVar[str] = "edgecut.history"
    LEVEL: ClassVar[Level] = "model"

    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Reference(Annotation):
    """The program that later numerics are compared with: as imported and preprocessed, in float."""

    KEY: ClassVar[str] = "edgecut.reference"
    LEVEL: ClassVar[Level] = "model"

    key: str
    """Its name in the store (`edgecut.ir.store`), which is its content hash."""


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
class Time:
    """Seconds, and how they are known."""

    seconds: float
    source: Literal["measured", "predicted"]
    spread: float = 0.0
    """Of repeated runs: half the interquartile range over the median; 0 where it is predicted."""


@dataclass(frozen=True)
class Cost(Annotation):
    """What a fusion group costs on either side. It stands on the last node of the group."""

    KEY: ClassVar[str] = "edgecut.cost"
    LEVEL: ClassVar[Level] = "node"

    edge: Time | None = None
    """None where the edge cannot run the group."""
    cloud: Time | None = None
    macs: int = 0
    weight_bytes: int = 0
    shape_key: str = ""
    """Fingerprint of the group that was measured: a cost whose group has changed is stale."""
    edge_int8: Time | None = None
    """On the edge with int8 kernels, where both precisions were profiled."""


@dataclass(frozen=True)
class Group(Annotation):
    """The fusion group of a node: operators that the edge runs as one, never cut apart."""

    KEY: ClassVar[str] = "edgecut.group"
    LEVEL: ClassVar[Level] = "node"

    id: str
    """Name of the group's last node."""


@dataclass(frozen=True)
class CloudOnly(Annotation):
    """A node that the edge target cannot run, and why."""

    KEY: ClassVar[str] = "edgecut.cloud_only"
    LEVEL: ClassVar[Level] = "node"

    reason: str


@dataclass(frozen=True)
class Placement(Annotation):
    """The side on which the chosen cut runs a node."""

    KEY: ClassVar[str] = "edgecut.side"
    LEVEL: ClassVar[Level] = "node"

    side: Side


@dataclass(frozen=True)
class Origin(Annotation):
    """The nodes of the imported model that a rewritten node came from (absent: its own name)."""

    KEY: ClassVar[str] = "edgecut.origin"
    LEVEL: ClassVar[Level] = "node"

    nodes: tuple[str, ...]


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
    """Orthonormal rows that decorrelate the channels (Karhunen-Loeve); empty where too little was seen."""
    coders: dict[str, Coder] = field(default_factory=dict)
    """By the name of the encoding."""


@dataclass(frozen=True)
class Privacy(Annotation):
    """The private inputs that a value which leaves the device was derived from, by their labels."""

    KEY: ClassVar[str] = "edgecut.privacy"
    LEVEL: ClassVar[Level] = "value"

    labels: tuple[str, ...]


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


@dataclass(frozen=True)
class Conditions:
    """How the costs of one side came about: enough to judge them, and to tell whether they still hold."""

    key: str
    """Fingerprint of the target's description, the threads and the runtime's version."""
    threads: int = 1
    runs: int = 0
    """Timed inferences; 0 where the costs are predicted."""
    operators_s: float | None = None
    """Sum of the operators as timed, before `correction` made the groups add up to the whole."""
    correction: Literal["none", "scaled", "intervals"] = "none"
    attribution: str = ""
    """How operators were timed: by the runtime's own profiler, or by intervals of the graph."""
    outliers: int = 0
    """Runs that were far from the others and left out."""
    load_s: float | None = None
    first_s: float | None = None
    """The first inference after loading."""
    memory_bytes: int | None = None
    """Peak memory of the process above what it took before the model was loaded."""
    runtime: str = ""
    machine: str = ""
    governor: str = ""
    mhz: float | None = None
    celsius: float | None = None
    error: float | None = None
    """Median relative error of predictions for operators of held-out models, where it is known."""


@dataclass(frozen=True)
class Profile(Annotation):
    """Which targets the costs are of, and the whole model's time on each."""

    KEY: ClassVar[str] = "edgecut.profile"
    LEVEL: ClassVar[Level] = "model"

    edge: str
    cloud: str
    edge_total: Time | None = None
    """None where the edge cannot run the whole model."""
    cloud_total: Time | None = None
    edge_conditions: Conditions | None = None
    cloud_conditions: Conditions | None = None


@dataclass(frozen=True)
class Cut:
    """One way to divide the graph: the edge computes the ancestors of these tensors, the cloud the rest.

    A graph input that the cloud needs crosses like any other tensor, so cloud-only is the cut whose
    crossing tensors are the inputs, and edge-only the cut with no crossing tensor.
    """

    name: str
    crossing: tuple[str, ...]
    edge_outputs: tuple[str, ...] = ()
    """Graph outputs that the edge computes."""
    cloud: str = ""
    """Key in the store of the program that its cloud half is, which then makes all graph outputs; empty:
    the cloud half is the rest of this program."""
    encodings: tuple[str, ...] = ()
    """How each crossing tensor is sent (`Encoding.name`); empty: all as they are held."""


@dataclass(frozen=True)
class CutFigures:
    """What one cut is predicted to do, per inference."""

    cut: Cut
    edge_s: float
    cloud_s: float
    up_bytes: int
    down_bytes: int
    latency_s: float
    """At the plan's network."""
    min_mbps: float = 0.0
    """This cut is the best one between these uplink bandwidths, ..."""
    max_mbps: float | None = None
    """... without an upper end if None; both 0 where it is the best nowhere (a fallback)."""


@dataclass(frozen=True)
class Baseline:
    """What not splitting would do: ``edge-only``, or ``cloud-only`` with one encoding of the input."""

    name: str
    latency_s: float | None
    """None where it is impossible; the reason says why."""
    up_bytes: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Plan(Annotation):
    """The cuts that the artifacts hold, best first at the plan's network, and the baselines."""

    KEY: ClassVar[str] = "edgecut.plan"
    LEVEL: ClassVar[Level] = "model"

    objective: str
    network: str
    up_mbps: float
    down_mbps: float
    rtt_s: float
    cuts: tuple[CutFigures, ...]
    baselines: tuple[Baseline, ...] = ()
    prices: Prices | None = None
    """What the objective pays for; None for the throughput, which is no sum."""

    @property
    def chosen(self) -> CutFigures:
        """The cut to use on the plan's network."""
        return self.cuts[0]


@dataclass(frozen=True)
class Router(Annotation):
    """A plan by which the edge answers alone where it is sure of its answer, and else asks the cloud.

    It is sure where the margin between its two highest scores is at or above a threshold. Agreement is
    the share of requests whose answer has the same top-1 as the imported model's.
    """

    KEY: ClassVar[str] = "edgecut.router"
    LEVEL: ClassVar[Level] = "model"

    cut: str
    """The cut whose edge half makes the scores and what is sent."""
    straight: str | None
    """The cut of inputs that do not go through the edge; None where none may."""
    scores: str
    """The graph output that holds one row of class scores."""
    threshold: float
    agreement: float
    """What was asked for."""
    samples: int
    """That the threshold was calibrated on; the figures below are of other ones."""
    judged_on: int
    expected: float
    """Agreement ..."""
    low: float
    """... with the ends of its 95 % confidence interval (Clopper and Pearson)."""
    high: float
    edge_agreement: float
    """Of the edge alone."""
    offloaded: float
    """Share of requests that ask the cloud."""
    latency_s: float
    """Expected over all requests, as is what follows."""
    energy_j: float | None = None
    """None where the targets lack the figures."""
    cost_usd: float | None = None
    max_bytes: int | None = None
    """Inputs of more bytes go straight to the cloud."""


@dataclass(frozen=True)
class Artifact:
    """A file that an emitting pass wrote, relative to the build directory."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Artifacts(Annotation):
    """Everything written so far for this program."""

    KEY: ClassVar[str] = "edgecut.artifacts"
    LEVEL: ClassVar[Level] = "model"

    files: tuple[Artifact, ...] = ()


@dataclass(frozen=True)
class CloudChecks(Annotation):
    """What was found of the cloud models that were emitted."""

    KEY: ClassVar[str] = "edgecut.cloud_checks"
    LEVEL: ClassVar[Level] = "model"

    tensorrt: tuple[TensorRtRecord, ...] = ()


ALL: tuple[type[Annotation], ...] = (
    Source, History, Reference, ImageInput, Cost, Group, CloudOnly, Placement,
    Origin, Wire, Encodings, Coding, Privacy, Quantization, Sensitivity, Profile, Plan, Router, Artifacts,
    CloudChecks,
)  # fmt: skip
_BY_KEY = {cls.KEY: cls for cls in ALL}


def get(owner: Annotated, cls: type[A]) -> A | None:
    """The record of this kind on a model, node or value, or None.

    Raises:
        ModelError: The property is there but does not parse.
    """
    text = owner.metadata_props.get(cls.KEY)
    return None if text is None else _parse(owner, cls, text)


def require(owner: Annotated, cls: type[A], hint: str) -> A:
    """Like `get`, but its absence is an error.

    Raises:
        ModelError: It is not there; ``hint`` says which pass makes it.
    """
    found = get(owner, cls)
    if found is None:
        raise ModelError(f"has no {cls.KEY} annotation", where=_name(owner), hint=hint)
    return found


def put(owner: Annotated, record: Annotation) -> None:
    """Set a record, in place of an older one of its kind."""
    owner.metadata_props[record.KEY] = typed.dumps(record)


def drop(owner: Annotated, cls: type[Annotation]) -> None:
    """Remove the record of this kind, if there is one."""
    owner.metadata_props.pop(cls.KEY, None)


def records(owner: Annotated) -> dict[str, Any]:
    """All edgecut records on this model, node or value, by key."""
    found = {k: v for k, v in owner.metadata_props.items() if k.startswith(PREFIX) and k != SCHEMA_KEY}
    return {key: _parse(owner, _class(owner, key), text) for key, text in sorted(found.items())}


def copy(source: Annotated, destination: Annotated) -> None:
    """Copy all edgecut records, over those that ``destination`` has."""
    own = {k: v for k, v in source.metadata_props.items() if k.startswith(PREFIX)}
    destination.metadata_props.update(own)


def _class(owner: Annotated, key: str) -> type[Annotation]:
    if key not in _BY_KEY:
        raise ModelError(f"unknown annotation {key}", where=_name(owner))
    return _BY_KEY[key]


def _parse(owner: Annotated, cls: type[A], text: str) -> A:
    try:
        return typed.loads(cls, text)
    except ValueError as error:
        raise ModelError(f"annotation {cls.KEY} does not parse: {error}", where=_name(owner)) from error


def _name(owner: Annotated) -> str:
    return getattr(owner, "name", None) or "the model"
