"""Where the graph is cut, and what that is predicted to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgecut.ir.annotations.base import Annotation, Level, Side
from edgecut.ir.annotations.cut import Cut
from edgecut.ir.manifest import Prices, Together


@dataclass(frozen=True)
class Placement(Annotation):
    """The side on which the chosen cut runs a node."""

    KEY: ClassVar[str] = "edgecut.side"
    LEVEL: ClassVar[Level] = "node"

    side: Side


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
    measured: tuple[Side, ...] = ()
    """The sides whose time is what the half took, and no sum of its operators'."""
    together: Together | None = None
    """What its encodings do together; None where it has none, or that was not measured."""


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
