"""The pass ``quantize``: static int8 from calibration data, as QDQ in the graph."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import onnx_ir as oir

from edgecut.frontends import data
from edgecut.frontends.data import Dataset
from edgecut.ir import annotations
from edgecut.ir.annotations import Quantization
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import numerics, stale
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.quantize import calibrate, grid, pixels, qdq, region
from edgecut.passes.quantize.grid import Grid
from edgecut.passes.quantize.region import Region

# The first operator set in which scales may differ per channel.
OPSET = 13


@dataclass(frozen=True)
class Quantize(Pass):
    """Run the convolutions, matrix products and what is between them on 8-bit integers.

    Weights are symmetric per output channel, activations asymmetric per tensor, biases int32 at the
    scale of the accumulator: the conventions of TFLite's kernels, which ONNX Runtime computes alike.
    """

    name: ClassVar[str] = "quantize"
    cacheable: ClassVar[bool] = True
    numeric: ClassVar[bool] = True

    scheme: Literal["none", "int8"] = option("int8", help="number format of the integer region")
    calibration: Path | None = option(None, help=".npz, .npy or folder of images", file=True)
    method: Literal["minmax", "percentile", "entropy", "mse"] = option(
        "minmax", help="how ranges follow from the calibration data"
    )
    percentile: float = option(99.99, help="share of the numbers kept by method=percentile")
    samples: int | None = option(None, help="use only so many samples, from the start")
    keep: tuple[str, ...] = option((), help="names of nodes that stay in float")

    def check_before(self, program: Program) -> None:
        """Refuse what cannot be quantized at all."""
        if self.scheme == "none":
            return
        if self.calibration is None:
            raise UsageError(
                "quantize needs calibration data", hint="--calibration DATA: real inputs of the model"
            )
        if not 50 < self.percentile <= 100:
            raise UsageError(f"percentile is {self.percentile}", hint="above 50, at most 100")
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"samples is {self.samples}", hint="at least 1")
        if annotations.get(program.model, Quantization) or _has_qdq(program):
            raise ModelError(
                "is quantized already", where=program.graph.name, hint="start from the float model"
            )
        if program.graph.opset_imports.get("", 0) < OPSET:
            raise ModelError(
                f"needs opset {OPSET} or newer", where=program.graph.name, hint="import it first"
            )
        names = {n.name for n in program.nodes}
        unknown = [n for n in self.keep if n not in names]
        if unknown:
            raise UsageError(
                f"no node named {unknown[0]!r}", where="quantize{keep}", hint="edgecut show lists them"
            )

    def run(self, program: Program, context: Context) -> Program:
        """Calibrate, write the QDQ graph, and measure it against the reference."""
        if self.scheme == "none":
            return program
        assert self.calibration is not None
        reference, before = numerics.reference(program), program.weight_bytes()
        pixels.align(program)
        found = region.select(program, frozenset(self.keep))
        if not found.nodes:
            what = "has nothing to quantize: no convolution or matrix product with constant weights"
            raise ModelError(what, where=program.graph.name, hint="scheme=none")
        dataset = data.load(self.calibration, program.inputs, self.samples)
        qdq.write(program, found, self._grids(program, found, dataset, context))
        stale.drop(program)
        annotations.put(program.model, Quantization(self.scheme, len(dataset)))
        context.metrics = {
            **numerics.compare(reference, program, dataset).metrics(),
            "int8_nodes": len(found.nodes),
            "weight_bytes_before": before,
            "weight_bytes": program.weight_bytes(),
        }
        return program

    def _grids(
        self, program: Program, found: Region, dataset: Dataset, context: Context
    ) -> dict[oir.Value, Grid]:
        """The grid of each value of the region."""
        groups = region.ties(found)
        known = [_known_grid(g, found) for g in groups]
        watched = [g for g, k in zip(groups, known, strict=True) if k is None]
        names = [v.name or "" for g in watched for v in region.sources(g, found)]
        total = len(dataset) * calibrate.passes_over(program, names, self.method)
        with context.progress.task("calibrating", total) as advance:
            spans = self._spans(program, names, dataset, advance)
        grids: dict[oir.Value, Grid] = {}
        for group, fixed in zip(groups, known, strict=True):
            own = fixed or _spanning(group, found, spans, context)
            grids.update(dict.fromkeys(group, own))
        return {v: grids[v] for v in found.values()}

    def _spans(
        self, program: Program, names: list[str], dataset: Dataset, advance: Callable[[], None]
    ) -> dict[str, calibrate.Range]:
        options = {"percentile": self.percentile}
        return calibrate.ranges(program, names, dataset, self.method, advance=advance, **options)


def _known_grid(group: list[oir.Value], found: Region) -> Grid | None:
    """The grid that a group must have: built into a kernel, or that of the pixels of an image."""
    made = region.sources(group, found)
    if len(made) != 1:
        return None
    producer = made[0].producer()
    if producer is not None and producer in found.nodes and producer.op_type in region.FIXED:
        return region.FIXED[producer.op_type]
    return pixels.grid_of(made[0])


def _spanning(
    group: list[oir.Value], found: Region, spans: Mapping[str, calibrate.Range], context: Context
) -> Grid:
    own = [spans[v.name or ""] for v in region.sources(group, found)]
    low, high = min(low for low, _ in own), max(high for _, high in own)
    if low == high:
        context.warn(f"{group[0].name} is the constant {low:g} on all calibration data")
    return grid.asymmetric(low, high)


def _has_qdq(program: Program) -> bool:
    return any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in program.nodes)
