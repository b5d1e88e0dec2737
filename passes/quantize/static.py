"""The pass ``quantize``: int8 kernels from calibration data, as QDQ in the graph, or only smaller weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgecut.frontends import data
from edgecut.frontends.data import Dataset
from edgecut.ir import annotations, store
from edgecut.ir.annotations import Profile, Quantization
from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program
from edgecut.passes import constant, effects, numerics, split, stale
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.budget import Budget, Judge, Quality
from edgecut.passes.quantize import aimed, checks, integers, weights
from edgecut.passes.quantize.calibrate import Method
from edgecut.passes.quantize.integers import Calibrated
from edgecut.passes.quantize.mixed import Mixed, Search

Metrics = dict[str, float | str]


@dataclass(frozen=True)
class Quantize(Pass):
    """Run the convolutions, matrix products and what is between them on 8-bit integers.

    Weights are symmetric per output channel, activations asymmetric per tensor, biases int32 at the
    scale of the accumulator: the conventions of TFLite's kernels, which ONNX Runtime computes alike. What a
    profile of both precisions knows not to be faster on integers stays in float.
    """

    name: ClassVar[str] = "quantize"
    version: ClassVar[int] = 13
    cacheable: ClassVar[bool] = True
    numeric: ClassVar[bool] = True

    scheme: Literal[
        "none", "int8", "int8-symmetric", "int16x8", "int8-weights", "int8-dynamic", "int4-weights", "float16"
    ] = option("int8", help="integer kernels (symmetric for TensorRT), or float kernels with small weights")
    calibration: Path | None = option(None, help=".npz, .npy or folder of images", file=True)
    method: Literal["auto", "minmax", "percentile", "entropy", "mse", "output"] = option(
        "auto",
        help="how ranges follow from the data; auto: mse, minmax or output, by the error on samples held out",
    )
    percentile: float = option(99.99, help="share of the numbers kept by method=percentile")
    samples: int | None = option(None, help="use only so many samples, from the start")
    keep: tuple[str, ...] = option((), help="names of nodes that stay in float")
    narrow: bool = option(False, help="8 bits also for weights of kernels left in float for speed")
    max_accuracy_drop: float | None = option(None, help="budget: points of top-1, with labels")
    min_sqnr: float | None = option(None, help="budget: dB at the worst output")
    min_agreement: float | None = option(None, help="budget: share of samples with the same top-1, 0 to 1")
    best_effort: bool = option(False, help="go on where the budget cannot be met")
    explain: bool = option(False, help="note each kernel's error on its nodes, as a budget does")

    def check_before(self, program: Program) -> None:
        """Refuse what cannot be quantized at all."""
        if self.scheme == "none":
            return
        checks.options(self.scheme, self.calibration, self.samples, self.percentile, self.budget)
        checks.program(program, self.scheme, self.keep)

    def run(self, program: Program, context: Context) -> Program:
        """Calibrate, write the QDQ graph, and measure it against the reference."""
        if self.scheme == "none":
            return program
        reference, before = numerics.reference(program), effects.size(program)
        original, dataset = store.put(program), self._load(program)
        if self.scheme in integers.SCHEMES:
            assert dataset is not None
            program, figures = self._integers(program, reference, dataset, context)
        else:
            program, figures = self._weights(program)
        if figures.get("int8_nodes") != 0 or figures.get("weights_stored"):
            stale.drop(program)
            annotations.put(program.model, Quantization(self.scheme, len(dataset or ()), original))
        if dataset is not None:
            judged = split.test(dataset) if self._holds_out else dataset
            found = numerics.compare(reference, program, judged, judged.labels)
            quality = Quality.of(found)
            if not self.budget.holds(quality):
                self._miss(f"the accuracy budget cannot be met: {quality} at best", program, context)
            figures = {**found.metrics(), **figures}
        context.metrics = {**figures, **effects.changed(before, effects.size(program))}
        return program

    @property
    def budget(self) -> Budget:
        """What may be lost."""
        return Budget(self.max_accuracy_drop, self.min_sqnr, self.min_agreement)

    @property
    def _holds_out(self) -> bool:
        """Whether some samples are kept from calibration, to judge by."""
        return self.scheme in integers.SCHEMES and (bool(self.budget) or self.explain)

    def _load(self, program: Program) -> Dataset | None:
        if self.calibration is None:
            return None
        dataset = data.load(self.calibration, program.inputs, self.samples, numerics.classes(program))
        checks.dataset(dataset, self.calibration, self.budget, program, hold_out=self._holds_out)
        return dataset

    def _weights(self, program: Program) -> tuple[Program, Metrics]:
        keep = frozenset(self.keep)
        if self.scheme == "float16":
            count = weights.to_float16(program, keep)
        else:
            count = weights.to_integers(program, keep, 4 if self.scheme == "int4-weights" else 8)
        if not count:
            raise checks.nothing(program)
        return program, {"weights_stored": count}

    def _integers(
        self, program: Program, reference: Program, dataset: Dataset, context: Context
    ) -> tuple[Program, Metrics]:
        keep = frozenset(self.keep)
        if not integers.selected(program, integers.scheme(self.scheme), keep).nodes:
            raise checks.nothing(program)
        search = Search(self._calibrated(program, reference, dataset, context), keep, narrow=self.narrow)
        found = self._decided(search, reference, dataset, context)
        if search.slower:
            profile = annotations.require(program.model, Profile, "profile it first")
            names = checks.some([chain[-1].name or "" for chain in search.slower])
            context.warn(f"stays in float, since {self.scheme} is not faster on {profile.edge}: {names}")
        elif not found.integers:
            self._miss("the accuracy budget leaves no kernel on integers", program, context)
        figures: Metrics = {"int8_nodes": found.integers, "float_nodes": found.floats}
        if search.whole is not None:
            figures["fastest_whole"] = search.whole
        if found.integers or self._holds_out:  # where it holds out, the kernels' errors are on it
            return found.program, figures
        if self.narrow:
            figures["weights_stored"] = weights.to_integers(program, keep)
        return program, figures

    def _calibrated(
        self, program: Program, reference: Program, dataset: Dataset, context: Context
    ) -> Calibrated:
        seen = split.fit(dataset) if self._holds_out else dataset
        if self.method == "auto":
            model = self._least_error(program, reference, dataset, seen, context)
        elif self.method == "output":
            model = self._by_output(program, seen, context)
        else:
            model = self._with_ranges(program, seen, self.method, context)
        constant.warn(list(dict.fromkeys((*dataset.constants(), *model.constants()))), context)
        return model

    def _least_error(
        self, program: Program, reference: Program, dataset: Dataset, seen: Dataset, context: Context
    ) -> Calibrated:
        """Of ranges that are clipped, are not, or go by the outputs: those of least error on unseen data."""
        if len(dataset) < split.EVERY:
            return self._with_ranges(program, seen, "mse", context)
        judge, keep = Judge(reference, split.test(dataset), None), frozenset(self.keep)
        fit = split.fit(dataset)
        clipped, extremes = (self._with_ranges(program, fit, m, context) for m in aimed.STARTS)
        shares = self._shares(extremes, clipped, fit, context)
        tried = {"mse": clipped, "minmax": extremes}
        if shares:
            tried["output"] = aimed.ranged(extremes, shares)
        errors = {name: judge.errors(model.quantized(keep)).mean() for name, model in tried.items()}
        best = min(errors, key=errors.__getitem__)
        if self._holds_out:  # what is seen is what was fitted to
            return tried[best]
        if best == "output":
            return aimed.ranged(self._with_ranges(program, seen, "minmax", context), shares)
        return self._with_ranges(program, seen, "mse" if best == "mse" else "minmax", context)

    def _by_output(self, program: Program, seen: Dataset, context: Context) -> Calibrated:
        clipped, extremes = (self._with_ranges(program, seen, m, context) for m in aimed.STARTS)
        return aimed.ranged(extremes, self._shares(extremes, clipped, seen, context))

    def _shares(
        self, extremes: Calibrated, clipped: Calibrated, seen: Dataset, context: Context
    ) -> dict[str, aimed.Share]:
        if self.scheme == "int16x8" or len(seen) < aimed.FEWEST:
            return {}
        with context.progress.task("choosing ranges", aimed.count(extremes)) as advance:
            return aimed.shares(extremes, clipped, seen, advance)

    def _with_ranges(self, program: Program, seen: Dataset, method: Method, context: Context) -> Calibrated:
        total = len(seen) * integers.passes_over(program, method)
        with context.progress.task(f"calibrating ({method})", total) as advance:
            return integers.calibrated(
                program.copy(), seen, method, percentile=self.percentile,
                scheme=integers.scheme(self.scheme), advance=advance,
            )  # fmt: skip

    def _decided(self, search: Search, reference: Program, dataset: Dataset, context: Context) -> Mixed:
        if not self._holds_out:
            return search.fastest()
        unseen = split.test(dataset)
        judge = Judge(reference, unseen, unseen.labels)
        with context.progress.task("measuring kernels", len(search.saved)) as advance:
            return search.within(self.budget, judge, advance)

    def _miss(self, what: str, program: Program, context: Context) -> None:
        """Raise where the budget does not hold, or with best effort warn."""
        if not self.best_effort:
            hint = "nothing was changed; a wider budget, a scheme that loses less, or best effort"
            raise ConstraintError(what, where=program.graph.name, hint=hint)
        context.warn(what)
