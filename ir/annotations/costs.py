"""What the parts of a model cost on either side, and how that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from edgecut.ir.annotations.base import Annotation, Level

LEAST_PART = 0.01
"""A whole that is faster by less than this, timed in turns with another, is not."""


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
    edge_int16: Time | None = None
    """The same with kernels on activations of 16 bits."""


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
    interrupted: int = 0
    """Runs from which the system took the processor away for a while (of one thread, that is not counted)."""
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
class Wholes:
    """The whole model on the edge, quantized to a different extent each time, timed in turns."""

    mixed: Time
    """Those kernels in float that are not faster on integers by themselves."""
    integers: Time
    """All on integers that can be."""
    floats: Time

    @property
    def fastest(self) -> Literal["mixed", "integers", "floats"]:
        """Which to take: what is known of each kernel holds, unless another whole is clearly faster."""
        others = {"integers": self.integers.seconds, "floats": self.floats.seconds}
        best = min(others, key=others.__getitem__)
        if others[best] >= (1 - LEAST_PART) * self.mixed.seconds:
            return "mixed"
        return "integers" if best == "integers" else "floats"


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
    edge_int8: Wholes | None = None
    """Where both precisions were measured on the edge, and so were the wholes."""
    edge_int16: Wholes | None = None
    """The same with activations of 16 bits."""
