"""The pass ``quantize``: int8 kernels from calibration data, as QDQ in the graph, or only smaller weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgecut.frontends import data
from edgecut.frontends.data import Dataset
from edgecut.ir import annotations, store
from edgecut.ir.annotations import Quantization
from edgecut.ir.errors import ConstraintError, ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import numerics, split, stale
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.quantize import integers, mixed, region, weights
from edgecut.passes.quantize.budget import Budget, Judge
from edgecut.passes.quantize.integers import Calibrated

Metrics = dict[str, float | str]

# The first operator set in which scales may differ per channel.
OPSET = 13


@dataclass(frozen=True)
class Quantize(Pass):
    """Run the convolutions, matrix products and what is between them on 8-bit integers.

    Weights are symmetric per output channel, activations asymmetric per tensor, biases int32 at the
    scale of the accumulator: the conventions of TFLite's kernels, which ONNX Runtime computes alike.
    """

    name: ClassVar[str] = "quantize"
    version: ClassVar[int] = 2
    cacheable: ClassVar[bool] = True
    numeric: ClassVar[bool] = True

    scheme: Literal["none", "int8", "int8-symmetric", "int8-weights", "float16"] = option(
        "int8", help="int8 kernels (symmetric for TensorRT), or float kernels with small weights"
    )
    calibration: Path | None = option(None, help=".npz, .npy or folder of images", file=True)
    method: Literal["minmax", "percentile", "entropy", "mse"] = option(
        "mse", help="how ranges follow from the calibration data"
    )
    percentile: float = option(99.99, help="share of the numbers kept by method=percentile")
    samples: int | None = option(None, help="use only so many samples, from the start")
    keep: tuple[str, ...] = option((), help="names of nodes that stay in float")
    max_accuracy_drop: float | None = option(None, help="budget: points of top-1, with labels")
    min_sqnr: float | None = option(None, help="budget: dB at the worst output")
    min_agreement: float | None = option(None, help="budget: share of samples with the same top-1, 0 to 1")
    best_effort: bool = option(False, help="go on where the budget cannot be met")
    explain: bool = option(False, help="with a budget: report each kernel's error, gain and decision")

    def check_before(self, program: Program) -> None:
        """Refuse what cannot be quantized at all."""
        if self.scheme == "none":
            return
        if self.calibration is None and (self.scheme.startswith("int8") != (self.scheme == "int8-weights")):
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
        reference, before = numerics.reference(program), program.weight_bytes()
        original = store.put(program)
        dataset = None
        if self.calibration is not None:
            dataset = data.load(self.calibration, program.inputs, self.samples)
        if self.scheme in ("int8", "int8-symmetric"):
            assert dataset is not None
            program, figures = self._integers(program, reference, dataset, context)
        else:
            program, figures = self._weights(program)
        stale.drop(program)
        annotations.put(program.model, Quantization(self.scheme, len(dataset or ()), original))
        if dataset is not None:
            figures = {**numerics.compare(reference, program, dataset).metrics(), **figures}
        sizes = {"weight_bytes_before": before, "weight_bytes": program.weight_bytes()}
        context.metrics = {**figures, **sizes}
        return program

    @property
    def _budget(self) -> Budget:
        return Budget(self.max_accuracy_drop, self.min_sqnr, self.min_agreement)

    def _weights(self, program: Program) -> tuple[Program, Metrics]:
        store = weights.to_int8 if self.scheme == "int8-weights" else weights.to_float16
        count = store(program, frozenset(self.keep))
        if not count:
            raise _nothing(program)
        return program, {"weights_stored": count}

    def _integers(
        self, program: Program, reference: Program, dataset: Dataset, context: Context
    ) -> tuple[Program, Metrics]:
        keep = frozenset(self.keep)
        if not region.select(program, keep).nodes:
            raise _nothing(program)
        seen = split.fit(dataset) if self._budget else dataset
        total = len(seen) * integers.passes_over(program, self.method)
        with context.progress.task("calibrating", total) as advance:
            model = integers.calibrated(
                program, seen, self.method, percentile=self.percentile,
                symmetric=self.scheme == "int8-symmetric", advance=advance,
            )  # fmt: skip
        constant = model.constants()
        if constant:
            others = f" (and {len(constant) - 1} more)" if len(constant) > 1 else ""
            context.warn(
                f"{constant[0]}{others} is constant over all calibration data: are they real inputs?"
            )
        if not self._budget:
            return model.quantized(keep), {"int8_nodes": len(model.region(keep).nodes)}
        return self._within_budget(model, keep, reference, dataset, context)

    def _within_budget(
        self, model: Calibrated, keep: frozenset[str], reference: Program, dataset: Dataset, context: Context
    ) -> tuple[Program, Metrics]:
        unseen = split.test(dataset)
        judge = Judge(reference, unseen, unseen.labels)
        with context.progress.task("measuring kernels", mixed.count(model, keep)) as advance:
            found = mixed.search(model, keep, self._budget, judge, advance)
        if not self._budget.holds(found.quality):
            what = f"the accuracy budget cannot be met: {found.quality} at best"
            if not self.best_effort:
                raise ConstraintError(
                    what, where=model.program.graph.name, hint="a wider budget, or best_effort"
                )
            context.warn(what)
        figures: Metrics = {
            "int8_nodes": sum(len(d.nodes) for d in found.decisions if d.integer),
            "float_nodes": len(found.kept),
            "judged_on": len(unseen),
            "quality": str(found.quality),
        }
        if self.explain:
            figures |= {f"node {d.nodes[-1]}": str(d) for d in found.decisions}
        return found.program, figures


def _nothing(program: Program) -> ModelError:
    what = "has nothing to quantize: no convolution or matrix product with constant weights"
    return ModelError(what, where=program.graph.name, hint="scheme=none")


def _has_qdq(program: Program) -> bool:
    return any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in program.nodes)
