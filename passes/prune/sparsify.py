"""The pass ``sparsify``: two of every four weights become zero, for the sparse tensor cores of the cloud."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx_ir as oir

from edgecut.frontends import data
from edgecut.frontends.data import Dataset
from edgecut.ir import annotations
from edgecut.ir.annotations import Plan, Profile
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import constant, effects, numerics, split
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.budget import Budget, Judge, Quality
from edgecut.passes.prune import fours, linear, refit
from edgecut.passes.prune.linear import Layer
from edgecut.targets import spec
from edgecut.targets.onnx import sparsity

# Ridges tried, relative to the mean square of the features.
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
# Share of equal answers below which the user is told.
ALARMING = 0.9


@dataclass(frozen=True)
class Sparsify(Pass):
    """Zero two of every four weights along the input channels, as TensorRT's sparse kernels want them.

    With calibration data those that cost least leave, and the others make up for them by least squares
    against the original results; without, the smaller ones leave. Which weights can have the pattern is
    told in `edgecut.targets.onnx.sparsity`.
    """

    name: ClassVar[str] = "sparsify"
    cacheable: ClassVar[bool] = True
    numeric: ClassVar[bool] = True

    cloud: str | None = option(None, help="server with sparse kernels, if not the profile's")
    calibration: Path | None = option(None, help=".npz, .npy or folder of images", file=True)
    samples: int | None = option(None, help="use only so many samples, from the start")
    min_channels: int = option(4, help="leave weights with fewer input channels alone")
    max_accuracy_drop: float | None = option(None, help="budget: points of top-1, with labels")
    min_sqnr: float | None = option(None, help="budget: dB at the worst output")
    min_agreement: float | None = option(None, help="budget: share of samples with the same top-1, 0 to 1")
    best_effort: bool = option(False, help="go on where the budget cannot be met")

    def check_before(self, program: Program) -> None:
        """Refuse a server without sparse kernels, and a program whose weights are settled already."""
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"is {self.samples}", where="sparsify{samples}", hint="at least 1")
        self._budget.check()
        if self._budget and self.calibration is None:
            raise UsageError("needs calibration data to judge its budget by", where="sparsify")
        profile = annotations.get(program.model, Profile)
        name = self.cloud or (profile.cloud if profile else None)
        if name is None:
            raise UsageError("needs a server", where="sparsify{cloud}", hint=f"such as {_able()}")
        if spec.load_device(name).sparsity != "2:4":
            hint = f'{_able()}; in a file of your own: sparsity = "2:4"'
            raise UsageError(f"{name} has no kernels for 2:4 sparsity", where="sparsify{cloud}", hint=hint)
        if any(n.op_type == "QuantizeLinear" for n in program.nodes):
            raise ModelError("is quantized already", where=program.graph.name, hint="sparsify, then quantize")
        if annotations.get(program.model, Plan) is not None:
            raise ModelError("is cut already", where=program.graph.name, hint="sparsify, then partition")

    def run(self, program: Program, context: Context) -> Program:
        """Sparsify every weight that can be."""
        names = self._names(program)
        if not names:
            what = f"has no weight with a multiple of 4, and at least {self.min_channels}, input channels"
            raise ModelError(what, where=program.graph.name, hint="no sparsify")
        found = program.copy()
        for node in found.nodes:
            if node.name in names:
                _cut_small(node)
        figures: dict[str, float | str] = {
            "weights": len(names), "share": round(_share(found, names), 4),
            **effects.changed(effects.size(program), effects.size(found)),
        }  # fmt: skip
        if self.calibration is not None:
            found = self._compensated(program, found, names, figures, context)
        context.metrics = figures
        return found

    @property
    def _budget(self) -> Budget:
        return Budget(self.max_accuracy_drop, self.min_sqnr, self.min_agreement)

    def _names(self, program: Program) -> set[str]:
        able = {n.name or "" for n in program.nodes if _able_node(n, self.min_channels)}
        # A weight that something else reads too, in another way, is left alone.
        return {
            n.name or "" for n in program.nodes
            if n.name in able and all(user.name in able and i == 1 for user, i in n.inputs[1].uses())  # type: ignore[union-attr]
        }  # fmt: skip

    def _compensated(
        self,
        program: Program,
        blind: Program,
        names: set[str],
        figures: dict[str, float | str],
        context: Context,
    ) -> Program:
        """The better of this and what least squares makes of it, on samples held out."""
        assert self.calibration is not None
        dataset = data.load(self.calibration, program.inputs, self.samples, numerics.classes(program))
        if len(dataset) < split.EVERY:
            what = f"{len(dataset)} samples are too few to refit weights to"
            raise ModelError(what, where=str(self.calibration), hint=f"at least {split.EVERY}, better 100")
        self._budget.check_data(dataset, self.calibration, program)
        constant.tell(dataset, context)
        unseen = split.test(dataset)
        judge = Judge(numerics.reference(program), unseen, unseen.labels)
        found = program.copy()
        for node in found.nodes:
            if node.name in names and not _is_fitted(node):
                _cut_small(node)
        _fit(program, found, names, split.fit(dataset), unseen, context)
        before, without, after = map(judge.quality, (program, blind, found))
        if without.sqnr_db > after.sqnr_db:
            found, after = blind, without
        if self._budget:
            self._budget.require(after, program.graph.name, self.best_effort, context.warn)
        else:
            _warn(after, context)
        figures |= {
            "sqnr_db_before": round(before.sqnr_db, 3), "sqnr_db_magnitude": round(without.sqnr_db, 3),
            **judge.difference(found).metrics(),
        }  # fmt: skip
        return found


def _fit(
    before: Program, after: Program, names: set[str], fit: Dataset, test: Dataset, context: Context
) -> None:
    """Layer by layer: zero two of every four, or correct what has to stay dense, in place."""
    nodes = [n for n in after.nodes if _is_fitted(n)]
    first = next((i for i, n in enumerate(nodes) if n.name in names), len(nodes))
    nodes = nodes[first:]
    rows = min(refit.ROWS, max(1, refit.ALL_ROWS // len(fit)))
    with context.progress.task("sparsifying", len(nodes)) as advance:
        for i, node in enumerate(nodes):
            layer = Layer.of(node)
            aim = refit.Aim.of(layer, frozenset(n.name or "" for n in nodes[i:]))
            measure = refit.Measure(before, after, layer, aim, {})
            seen, unseen = measure.equations(fit, rows), measure.equations(test, rows)
            if node.name in names:
                layer.correct(_change(layer, seen, unseen))
            else:
                measure.correct(seen, unseen)
            advance()


def _change(layer: Layer, fit: refit.Normal, test: refit.Normal) -> linear.Floats:
    """What makes a layer sparse with the least error on samples held out."""
    weight = layer.weight[0]
    channels = linear.shape(layer.node.inputs[1])[sparsity.axis(layer.node)]
    at = fours.order(channels, (len(weight) - 1) // channels)
    small = np.concatenate([fours.by_magnitude(weight[at], 0), weight[-1:]])
    found = [weight.copy()]
    found[0][np.append(at, len(weight) - 1)] = small
    for ridge in RIDGES:
        found.append(fours.eliminate(weight + fit.solve(ridge)[0], fit.moments(ridge)[0], at))
    changes = [(new - weight)[None] for new in found]
    best = int(np.argmin([test.error(change) for change in changes]))
    return np.asarray(changes[best])


def _able_node(node: oir.Node, least: int) -> bool:
    value = sparsity.weight(node)
    return (
        value is not None
        and value.dtype == oir.DataType.FLOAT
        and linear.shape(value)[sparsity.axis(node)] >= least
    )


def _is_fitted(node: oir.Node) -> bool:
    return linear.is_linear(node) and linear.feature_count(node) <= refit.MAX_FEATURES


def _cut_small(node: oir.Node) -> None:
    value = node.inputs[1]
    assert value is not None
    assert value.const_value is not None
    array = fours.by_magnitude(value.const_value.numpy(), sparsity.axis(node))
    value.const_value = oir.tensor(array, name=value.name)


def _share(program: Program, names: set[str]) -> float:
    """Part of all floating-point weights that belongs to sparse ones."""
    chosen = {n.inputs[1] for n in program.nodes if n.name in names}
    tensors = [(v, v.const_value) for v in program.graph.initializers.values()]
    sizes = [(t.size, v in chosen) for v, t in tensors if t is not None and t.dtype.is_floating_point()]
    return sum(size for size, sparse in sizes if sparse) / max(1, sum(size for size, _ in sizes))


def _warn(quality: Quality, context: Context) -> None:
    if quality.agreement is not None and quality.agreement < ALARMING:
        context.warn(f"2:4 sparsity left {quality} on samples held out: min_channels spares small layers")


def _able() -> str:
    return ", ".join(name for name in spec.device_names() if spec.load_device(name).sparsity == "2:4")
