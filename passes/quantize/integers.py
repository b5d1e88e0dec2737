"""Static integer quantization of a calibrated program, as often as wanted and with any nodes left out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import onnx_ir as oir

from edgecut.ir.program import Program
from edgecut.passes.numerics import Sample
from edgecut.passes.quantize import calibrate, grid, hard, pixels, qdq, region, untied
from edgecut.passes.quantize.calibrate import Method, Range
from edgecut.passes.quantize.clipping import Levels
from edgecut.passes.quantize.grid import Grid
from edgecut.passes.quantize.region import Region

Scheme = Literal["int8", "int8-symmetric", "int16x8"]
"""Activations asymmetric as in TFLite, symmetric as TensorRT wants them, or of 16 bits."""
LEVELS = {"int8": Levels(255), "int8-symmetric": Levels(254, True), "int16x8": Levels(65534, True)}
# 16 bits have room for what calibration data did not show.
_HEADROOM = 2.0
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


@dataclass(frozen=True)
class Calibrated:
    """A float program and the ranges of all values that may be quantized."""

    program: Program
    spans: Mapping[str, Range]
    scheme: Scheme = "int8"
    slow: frozenset[str] = frozenset()
    """Names of nodes that are slower on integers whatever the target, and stay in float."""

    @property
    def dtype(self) -> Literal["int8", "int16"]:
        """Of activations; weights are int8 always."""
        return "int16" if self.scheme == "int16x8" else "int8"

    def region(self, keep: frozenset[str] = frozenset()) -> Region:
        """What would run on integers, without the nodes named."""
        return region.select(self.program, keep | self.slow)

    def quantized(self, keep: frozenset[str] = frozenset()) -> Program:
        """A quantized copy, without the nodes named."""
        copy = self.program.copy()
        found = region.select(copy, keep | self.slow)
        groups = region.ties(found)
        known = [self.known_grid(group, found) for group in groups]
        own = [k or self._grid(g, found) for k, g in zip(known, groups, strict=True)]
        if self.dtype == "int8":
            own = untied.grids(found, groups, own, [k is not None for k in known])
        grids = {v: grid for group, grid in zip(groups, own, strict=True) for v in group}
        qdq.write(copy, found, {v: grids[v] for v in found.values()}, self.spanning)
        return copy

    def constants(self) -> list[str]:
        """Values that were the same number throughout the calibration data."""
        return [name for name, (low, high) in self.spans.items() if low == high]

    def _grid(self, group: list[oir.Value], found: Region) -> Grid:
        made = region.sources(group, found) or group
        own = [self.spans[v.name or ""] for v in made]
        low, high = min(low for low, _ in own), max(high for _, high in own)
        if self.dtype == "int16":
            low, high = _HEADROOM * low, _HEADROOM * high
        return self.spanning(low, high)

    def spanning(self, low: float, high: float) -> Grid:
        """The grid of numbers between two."""
        return grid.asymmetric(low, high) if self.scheme == "int8" else grid.symmetric(low, high, self.dtype)

    def known_grid(self, group: list[oir.Value], found: Region) -> Grid | None:
        """The grid that values must have: built into a kernel, or that of the pixels of an image."""
        value, *others = region.sources(group, found) or group
        if others:
            return None
        producer = value.producer()
        inside = producer is not None and producer in found.nodes
        fixed = region.FIXED[self.dtype].get(producer.op_type) if producer is not None and inside else None
        if fixed is not None and self.scheme != "int8-symmetric":
            return fixed
        return pixels.grid_of(value) if self.scheme == "int8" else None


def calibrated(
    program: Program,
    samples: Iterable[Sample],
    method: Method = "mse",
    *,
    percentile: float = 99.99,
    scheme: Scheme = "int8",
    advance: Callable[[], None] = lambda: None,
) -> Calibrated:
    """Find the ranges of a float program.

    Args:
        program: It may be changed: HardSwish becomes two operators, and the zeros of images are put onto the
            grid of their pixels.
        samples: Its inputs; iterated over as often as `passes_over` says.
        method: How ranges follow from the data.
        percentile: Share of the numbers kept by the method of that name, in percent.
        scheme: How activations are to be held.
        advance: Called after each sample.

    Raises:
        ModelError: A number in a value is not finite.
    """
    hard.split(program)
    if scheme == "int8":
        pixels.align(program)
    names = _names(program)
    spans = calibrate.ranges(
        program, names, samples, method, percentile=percentile, levels=LEVELS[scheme], advance=advance
    )
    return Calibrated(program, spans, scheme, _slow(program, scheme))


def selected(program: Program, scheme: Scheme, keep: frozenset[str] = frozenset()) -> Region:
    """What could run on integers, without the nodes named and those that are slower so."""
    return region.select(program, keep | _slow(program, scheme))


def _slow(program: Program, scheme: Scheme) -> frozenset[str]:
    return region.slow(program) if scheme == "int8" else frozenset()


def scheme(name: str) -> Scheme:
    """The scheme of this name, which is one of `SCHEMES`."""
    return next(s for s in SCHEMES if s == name)


def uncalibrated(program: Program, scheme: Scheme = "int8") -> Calibrated:
    """A copy with ranges made up: it computes nonsense in the time that a calibrated one takes."""
    copy = program.copy()
    hard.split(copy)
    return Calibrated(copy, dict.fromkeys(_names(copy), (-1.0, 1.0)), scheme, _slow(copy, scheme))


def passes_over(program: Program, method: Method) -> int:
    """How often `calibrated` reads all samples."""
    return calibrate.passes_over(program, _names(program), method)


def _names(program: Program) -> list[str]:
    return [v.name or "" for v in region.select(program).values()]
