"""The pass ``prune``: whole channels of convolutions and matrix products removed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgecut.frontends import data
from edgecut.frontends.data import Dataset
from edgecut.ir import work
from edgecut.ir.errors import ConstraintError, ModelError, UsageError
from edgecut.ir.program import Program, static_shape
from edgecut.passes import numerics, split, stale
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.prune import choose, reconstruction, refit, rules, shrink
from edgecut.passes.prune.dims import Axis, Channel, ChannelGroup
from edgecut.passes.prune.reconstruction import Order
from edgecut.passes.prune.sensitivity import sensitivities
from edgecut.passes.quantize.budget import Budget, Judge

# Share of equal answers below which the user is told without having asked.
ALARMING = 0.9


@dataclass(frozen=True)
class Prune(Pass):
    """Remove a share of the channels of every group of layers that depend on each other.

    What depends on what (residual additions, concatenations, depthwise and grouped convolutions) is found
    from the graph. With calibration data channels are judged by their effect, and the weights that are
    left are refitted to the original results.
    """

    name: ClassVar[str] = "prune"
    cacheable: ClassVar[bool] = True
    numeric: ClassVar[bool] = True

    ratio: float = option(0.0, help="share of the channels of each group to remove, 0 to below 1")
    macs: float = option(
        0.0, help="share of multiply-accumulates to save, where it costs least, 0 to below 1"
    )
    calibration: Path | None = option(None, help=".npz, .npy or folder of images", file=True)
    importance: Literal["auto", "l1", "l2", "effect"] = option(
        "auto", help="what channels are judged by; auto: effect where there is calibration data, else l2"
    )
    multiple: int = option(1, help="keep a multiple of so many channels, as fast kernels like")
    samples: int | None = option(None, help="use only so many samples, from the start")
    max_accuracy_drop: float | None = option(None, help="budget: points of top-1, with labels")
    min_sqnr: float | None = option(None, help="budget: dB at the worst output")
    min_agreement: float | None = option(None, help="budget: share of samples with the same top-1, 0 to 1")
    best_effort: bool = option(False, help="go on where the budget cannot be met")

    def check_before(self, program: Program) -> None:
        """Refuse options that make no sense, and a program that is quantized already."""
        for name in ("ratio", "macs"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"is {getattr(self, name)}", where=f"prune{{{name}}}", hint="0 up to, but not, 1"
                )
        if self._budget and self.calibration is None:
            raise UsageError("needs calibration data to judge its budget by", where="prune")
        if self.ratio and self.macs:
            raise UsageError("takes either ratio or macs", where="prune")
        for name in ("multiple", "samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"is {value}", where=f"prune{{{name}}}", hint="at least 1")
        if self.importance == "effect" and self.calibration is None:
            raise UsageError(
                "needs calibration data", where="prune{importance=effect}", hint="--calibration DATA"
            )
        if (self.ratio or self.macs) and any(n.op_type == "QuantizeLinear" for n in program.nodes):
            raise ModelError("is quantized already", where=program.graph.name, hint="prune before quantize")

    def run(self, program: Program, context: Context) -> Program:
        """Find the groups, remove the least important channels, and refit."""
        if not self.ratio and not self.macs:
            return program
        groups = rules.analyse(program).groups()
        dataset = self._load(program)
        removed = self._choose(program, groups, dataset)
        if not removed:
            what = "no group has a channel to spare" if groups else "has no removable channel"
            raise ModelError(what, where=program.graph.name, hint="a larger ratio, or no prune")
        before, expected = program.copy(), numerics.reference(program)
        figures = {"groups": len(groups), "channels_removed": len(removed), **_figures(before, "_before")}
        kept = _kept(removed)
        shrink.remove(program, removed)
        stale.drop(program)
        if dataset is not None:
            names = refit.layers(before, program)
            with context.progress.task("refitting", len(names)) as advance:
                refit.refit(before, program, names, kept, dataset, advance)
            figures |= self._judge(expected, program, split.test(dataset), context)
        context.metrics = {**figures, **_figures(program, "")}
        return program

    def _judge(
        self, expected: Program, program: Program, unseen: Dataset, context: Context
    ) -> dict[str, float | str]:
        """Figures on samples held out; without a budget, a loss that nobody can want is told."""
        quality = Judge(expected, unseen, unseen.labels).quality(program)
        if self._budget and not self._budget.holds(quality):
            what = f"the accuracy budget does not hold: {quality}"
            if not self.best_effort:
                raise ConstraintError(what, where=program.graph.name, hint="prune less, or best_effort")
            context.warn(what)
        elif not self._budget and quality.agreement is not None and quality.agreement < ALARMING:
            context.warn(f"pruning left {quality} on samples held out: prune less, or set a budget")
        found: dict[str, float | str] = {"judged_on": len(unseen), "sqnr_db": round(quality.sqnr_db, 3)}
        return found if quality.agreement is None else {**found, "agreement": round(quality.agreement, 4)}

    @property
    def _budget(self) -> Budget:
        return Budget(self.max_accuracy_drop, self.min_sqnr, self.min_agreement)

    def _load(self, program: Program) -> Dataset | None:
        if self.calibration is None:
            return None
        dataset = data.load(self.calibration, program.inputs, self.samples)
        if len(dataset) < split.EVERY:
            what = f"{len(dataset)} samples are too few to refit weights to"
            raise ModelError(what, where=str(self.calibration), hint=f"at least {split.EVERY}, better 100")
        return dataset

    def _orders(
        self, program: Program, groups: Sequence[ChannelGroup], dataset: Dataset | None
    ) -> list[Order]:
        magnitudes = [choose.by_magnitude(group, 1 if self.importance == "l1" else 2) for group in groups]
        if dataset is None or self.importance in ("l1", "l2"):
            return magnitudes
        seen = split.fit(dataset)
        moments = reconstruction.moments(program, seen)
        sensitivity = sensitivities(program, seen)
        effects = [reconstruction.order(group, moments, sensitivity) for group in groups]
        return [effect or other for effect, other in zip(effects, magnitudes, strict=True)]

    def _choose(
        self, program: Program, groups: Sequence[ChannelGroup], dataset: Dataset | None
    ) -> list[Channel]:
        orders = self._orders(program, groups, dataset)
        if self.macs:
            counts = choose.by_macs(program, groups, orders, self.macs, self.multiple)
        else:
            counts = choose.by_ratio(groups, self.ratio, self.multiple)
        return choose.channels(groups, orders, counts)


def _kept(removed: Sequence[Channel]) -> dict[str, list[int]]:
    """Positions that are left on the channel axes of values, by name of the value."""
    gone: dict[str, set[int]] = {}
    sizes: dict[str, int] = {}
    for (value, axis), positions in _dynamic(removed):
        name = value.name or ""
        gone.setdefault(name, set()).update(positions)
        sizes[name] = (static_shape(value) or ())[axis]
    return {name: [i for i in range(sizes[name]) if i not in positions] for name, positions in gone.items()}


def _dynamic(removed: Sequence[Channel]) -> Iterator[tuple[Axis, tuple[int, ...]]]:
    for channel in removed:
        for (value, axis), positions in channel.places:
            if value.const_value is None:
                yield (value, axis), positions


def _figures(program: Program, suffix: str) -> dict[str, float | str]:
    floats = [v.const_value for v in program.graph.initializers.values() if v.const_value is not None]
    params = sum(t.size for t in floats if t.dtype.is_floating_point())
    return {
        f"params{suffix}": params,
        f"macs{suffix}": sum(map(work.macs, program.nodes)),
        f"weight_bytes{suffix}": program.weight_bytes(),
    }
