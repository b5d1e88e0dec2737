"""The manifest: the contract between compiler and runtime, one JSON file at the root of a build.

Standard library only, and Python 3.9: the device reads it with this module. `schema()` is its JSON
Schema; every path in it is relative to the manifest's own folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from edgecut.ir import files, typed
from edgecut.ir.errors import ModelError

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Tensor:
    """A tensor as it is fed to, sent by, or got from a model."""

    name: str
    dtype: str
    """NumPy name: float32, uint8, int8, ..."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CodingRecord:
    """How the runtimes make a crossing tensor smaller, and restore it."""

    encoding: str
    """Name of the whole encoding; its linear parts are in the two models."""
    coder: str
    """What makes bytes of the tensor: ``none``, ``rans``, ``zlib`` or ``lzma``."""
    rounding: Optional[int] = None
    """The edge model gives floats, which are made integers: cut off after so many 256ths were added to
    their magnitude. Null where the tensor is only cast to its type."""
    low: int = 0
    high: int = 0
    """Limits of the integers."""
    tables: str = ""
    """Static tables of ``rans``: integers, as text (`edgecut.runtime.tables`)."""
    sha256: str = ""
    """Of the tables; a stream begins with the first bytes of it."""


@dataclass(frozen=True)
class Sent:
    """A tensor that leaves the device, in the layout and type in which the edge kernel produces it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    perm: tuple[int, ...] = ()
    """``sent = transpose(tensor of the model, perm)``; empty where the layouts agree."""
    labels: tuple[str, ...] = ()
    """Privacy labels of what it was derived from."""
    coding: Optional[CodingRecord] = None
    """How it is coded; type and shape are those of the integers, which may also be sent as they are."""


@dataclass(frozen=True)
class Together:
    """What the encodings of a cut do to the outputs together, against sending all as it is held."""

    samples: int
    """That no coder was fitted to."""
    sqnr_db: float
    """Signal to noise of the worst output that the cloud makes."""
    agreement: Optional[float] = None
    """Share of samples with the same top-1; null where no output holds class scores."""
    accuracy: Optional[float] = None
    """Share of right answers; null without labels."""
    accuracy_held: Optional[float] = None
    """The same without the encodings."""

    def describe(self) -> str:
        """The figures, in one line."""
        parts = [] if self.agreement is None else [f"{self.agreement:.1%} of answers the same"]
        if self.accuracy is not None and self.accuracy_held is not None:
            parts.append(f"{self.accuracy_held:.1%} -> {self.accuracy:.1%} right")
        return ", ".join([*parts, f"{self.sqnr_db:.1f} dB", f"{self.samples} samples"])


@dataclass(frozen=True)
class CutRecord:
    """One way to run the model: what the edge computes, what is sent, and what the cloud computes."""

    name: str
    signature: Optional[str]
    """Signature of the edge model, or null where the edge computes nothing."""
    cloud_model: Optional[str]
    """Model name for the Open Inference Protocol, or null where the cloud computes nothing."""
    sends: tuple[Sent, ...]
    edge_outputs: tuple[str, ...]
    """Model outputs that the edge computes; the others are the cloud model's outputs."""
    edge_s: float
    cloud_s: float
    up_bytes: int
    down_bytes: int
    latency_s: float
    """Predicted end-to-end seconds on the manifest's network."""
    min_mbps: float = 0.0
    """Best cut from this uplink bandwidth ..."""
    max_mbps: Optional[float] = None
    """... up to this one (null: no upper end; both 0: best nowhere, kept as a fallback)."""
    measured: tuple[str, ...] = ()
    """The sides whose time is what the half took; of the others it is the sum of the operators' times."""
    together: Optional[Together] = None
    """What its encodings do to the outputs together; null where it has none, or that was not measured."""


@dataclass(frozen=True)
class RouterRecord:
    """When the edge answers alone: where the margin between its two highest scores is large enough."""

    cut: str
    """The cut that is routed: its edge half makes every output, and so does its cloud half."""
    scores: str
    """The output that holds one row of class scores."""
    threshold: float
    """The edge's answer counts from this margin on; else what the cut sends goes to the cloud."""
    agreement: float
    """Share of answers with the imported model's top-1 that the threshold was calibrated for."""
    expected_agreement: float
    """On samples that it was not calibrated on ..."""
    agreement_low: float
    """... with the ends of its 95 % confidence interval."""
    agreement_high: float
    edge_agreement: float
    """Of the edge alone."""
    offloaded: float
    """Share of requests that ask the cloud."""
    samples: int
    latency_s: float
    """Expected over all requests."""
    energy_j: Optional[float] = None
    cost_usd: Optional[float] = None
    straight: Optional[str] = None
    """The cut of inputs that are too large for the edge ..."""
    max_bytes: Optional[int] = None
    """... which have more bytes than this."""

    def describe(self) -> str:
        """What the router does, in one sentence."""
        low, high = 100 * self.agreement_low, 100 * self.agreement_high
        return (
            f"the edge answers from a margin of {self.threshold:.4g} on; {self.offloaded:.1%} of requests "
            f"ask the cloud; {self.expected_agreement:.1%} of answers are the imported model's ({low:.1f} to "
            f"{high:.1f} %; {self.edge_agreement:.1%} of the edge alone), asked for were {self.agreement:.4g}"
        )


@dataclass(frozen=True)
class BaselineRecord:
    """What not splitting would take, for comparison; a null latency is impossible for the reason given."""

    name: str
    latency_s: Optional[float]
    up_bytes: int = 0
    reason: str = ""


@dataclass(frozen=True)
class NetworkRecord:
    """The network that the plan was made for."""

    name: str
    up_mbps: float
    down_mbps: float
    rtt_s: float


@dataclass(frozen=True)
class Prices:
    """What the objective pays for each part of a request, in its own unit (s, J, USD, or a weighted sum)."""

    edge_s: float = 0.0
    """A second of the edge half."""
    cloud_s: float = 0.0
    """A second of the cloud half."""
    wait_s: float = 0.0
    """A second of waiting: for the round trip, and in the server's queue."""
    send_s: float = 0.0
    """A second of sending ..."""
    receive_s: float = 0.0
    """... and of receiving."""
    up_byte: float = 0.0
    """A byte sent ..."""
    down_byte: float = 0.0
    """... and one received, besides their time."""
    offload: float = 0.0
    """Asking the server at all."""


LATENCY = Prices(edge_s=1.0, cloud_s=1.0, wait_s=1.0, send_s=1.0, receive_s=1.0)


@dataclass(frozen=True)
class TargetRecord:
    """A device or server, and whether the costs on it were measured or predicted."""

    name: str
    costs: str


@dataclass(frozen=True)
class SourceRecord:
    """The user's model."""

    file: str
    sha256: str
    frontend: str


@dataclass(frozen=True)
class StepRecord:
    """One pass of the build, and what it reported."""

    text: str
    metrics: dict[str, Union[float, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class TensorRtRecord:
    """Whether TensorRT would take a cloud model, by the published table of its ONNX parser."""

    model: str
    version: str
    """Of TensorRT."""
    problems: tuple[str, ...] = ()
    """What keeps it from that: node, operator, reason; empty where nothing does."""


@dataclass(frozen=True)
class FileRecord:
    """A file of the build."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything that a runtime needs to execute and re-adapt the cut."""

    schema_version: int
    edgecut_version: str
    model: str
    source: SourceRecord
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    edge_model: Optional[str]
    """Path of the TFLite file, or null where the plan is cloud-only."""
    edge: TargetRecord
    cloud: TargetRecord
    network: NetworkRecord
    objective: str
    cuts: tuple[CutRecord, ...]
    """Best first at the manifest's network."""
    baselines: tuple[BaselineRecord, ...]
    steps: tuple[StepRecord, ...]
    files: tuple[FileRecord, ...]
    quantization: str = "none"
    prices: Optional[Prices] = None
    """What the objective adds up, for a runtime to do the same with what it measures; null: seconds."""
    router: Optional[RouterRecord] = None
    """By which requests are to be run, where there is one; else on one of the cuts."""
    tensorrt: tuple[TensorRtRecord, ...] = ()
    dynamic_batch: bool = False
    """Every input, output and sent tensor may have any number of samples along its first dimension, the same
    in all of them; the shapes listed are those for one."""

    def samples(self, shape: tuple[int, ...]) -> int:
        """How many samples a tensor of this shape holds: one, unless the batch is dynamic."""
        return max(shape[0], 1) if self.dynamic_batch and shape else 1

    def sized(self, declared: tuple[int, ...], samples: int) -> tuple[int, ...]:
        """The shape that a listed one stands for, for so many samples."""
        return (samples, *declared[1:]) if self.dynamic_batch else declared

    def cut(self, name: str) -> CutRecord:
        """The cut of this name.

        Raises:
            ModelError: The build does not hold it.
        """
        for record in self.cuts:
            if record.name == name:
                return record
        have = ", ".join(c.name for c in self.cuts)
        raise ModelError(f"no cut named {name!r} in this build", hint=f"it holds: {have}")


def read(path: Path, *, verify: bool = True) -> Manifest:
    """Read a manifest (or the one in a build folder) and check the hash of every file it lists.

    Raises:
        ModelError: It is absent, does not parse, is of another version, or a file differs.
    """
    path = path / FILE_NAME if path.is_dir() else path
    manifest = parse(read_bytes(path), path)
    if verify:
        verify_files(manifest, path.parent)
    return manifest


def read_bytes(path: Path) -> bytes:
    """The bytes of a manifest.

    Raises:
        ModelError: It is absent.
    """
    if not path.is_file():
        raise ModelError("no such file", where=str(path), hint="edgecut build makes it")
    return path.read_bytes()


def parse(text: bytes, path: Path) -> Manifest:
    """Parse the bytes of a manifest.

    Raises:
        ModelError: It does not parse, or is of another version.
    """
    try:
        data = json.loads(text.decode("utf-8"))
        found = data.get("schema_version") if isinstance(data, dict) else None
        if found != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {found}, this edgecut reads {SCHEMA_VERSION}")
        manifest: Manifest = typed.decode(Manifest, data)
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"is no valid manifest: {error}", where=str(path)) from error
    return manifest


def verify_files(manifest: Manifest, root: Path) -> None:
    """Compare every file of the build with its recorded hash.

    Raises:
        ModelError: A file is absent, outside the folder, or differs.
    """
    for record in manifest.files:
        path = root / record.path
        if Path(record.path).is_absolute() or ".." in Path(record.path).parts:
            raise ModelError("points outside the build", where=record.path)
        if not path.is_file():
            raise ModelError("is listed in the manifest but absent", where=str(path), hint="build again")
        if path.stat().st_size != record.bytes or files.sha256(path) != record.sha256:
            raise ModelError("differs from its hash in the manifest", where=str(path), hint="build again")


def write(manifest: Manifest, path: Path) -> None:
    """Write a manifest, whole or not at all.

    Raises:
        TargetError: The disk is full or the place cannot be written.
    """
    files.write(path, (typed.dumps(manifest, indent=2) + "\n").encode())


def schema() -> dict[str, Any]:
    """JSON Schema of the manifest."""
    return {"title": "edgecut manifest", **typed.schema(Manifest)}
