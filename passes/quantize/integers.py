"""Static integer quantization of a calibrated program, as often as wanted and with any nodes left out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as oir

from edgecut.ir.program import Program
from edgecut.passes.numerics import Sample
from edgecut.passes.quantize import calibrate, grid, hard, pixels, qdq, region
from edgecut.passes.quantize.calibrate import Method, Range
from edgecut.passes.quantize.grid import Grid
from edgecut.passes.quantize.region import Region


@dataclass(frozen=True)
class Calibrated:
    """A float program and the ranges of all values that may be quantized."""

    program: Program
    spans: Mapping[str, Range]
    symmetric: bool = False
    """Activations have their zero at the integer 0, as TensorRT wants it."""

    def region(self, keep: frozenset[str] = frozenset()) -> Region:
        """What would run on integers, without the nodes named."""
        return region.select(self.program, keep)

    def quantized(self, keep: frozenset[str] = frozenset()) -> Program:
        """A quantized copy, without the nodes named."""
        copy = self.program.copy()
        found = region.select(copy, keep)
        grids: dict[oir.Value, Grid] = {}
        for group in region.ties(found):
            grids.update(dict.fromkeys(group, self._grid(group, found)))
        qdq.write(copy, found, {v: grids[v] for v in found.values()})
        return copy

    def constants(self) -> list[str]:
        """Values that were the same number throughout the calibration data."""
        return [name for name, (low, high) in self.spans.items() if low == high]

    def _grid(self, group: list[oir.Value], found: Region) -> Grid:
        made = region.sources(group, found) or group
        known = None if self.symmetric or len(made) != 1 else _known_grid(made[0], found)
        if known is not None:
            return known
        own = [self.spans[v.name or ""] for v in made]
        low, high = min(low for low, _ in own), max(high for _, high in own)
        return grid.symmetric(low, high) if self.symmetric else grid.asymmetric(low, high)


def calibrated(
    program: Program,
    samples: Iterable[Sample],
    method: Method = "mse",
    *,
    percentile: float = 99.99,
    symmetric: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Calibrated:
    """Find the ranges of a float program.

    Args:
        program: It may be changed: HardSwish becomes two operators, and the zeros of images are put onto the
            grid of their pixels.
        samples: Its inputs; iterated over as often as `passes_over` says.
        method: How ranges follow from the data.
        percentile: Share of the numbers kept by the method of that name, in percent.
        symmetric: Whether activations are to be symmetric.
        advance: Called after each sample.

    Raises:
        ModelError: A number in a value is not finite.
    """
    hard.split(program)
    if not symmetric:
        pixels.align(program)
    names = _names(program)
    spans = calibrate.ranges(program, names, samples, method, percentile=percentile, advance=advance)
    return Calibrated(program, spans, symmetric)


def passes_over(program: Program, method: Method) -> int:
    """How often `calibrated` reads all samples."""
    return calibrate.passes_over(program, _names(program), method)


def _names(program: Program) -> list[str]:
    return [v.name or "" for v in region.select(program).values()]


def _known_grid(value: oir.Value, found: Region) -> Grid | None:
    """The grid that a value must have: built into a kernel, or that of the pixels of an image."""
    producer = value.producer()
    if producer is not None and producer in found.nodes and producer.op_type in region.FIXED:
        return region.FIXED[producer.op_type]
    return pixels.grid_of(value)
