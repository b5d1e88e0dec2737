"""The pass ``prune``: whole channels of convolutions and matrix products removed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from edgecut.frontends import data
from edgecut.frontends.data import Dataset
from edgecut.ir import annotations, work
from edgecut.ir.annotations import Profile
from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import constant, numerics, split
from edgecut.passes.augment import Kind
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.budget import Budget, Judge, Quality
from edgecut.passes.finetune.module import has_torch, require_torch
from edgecut.passes.prune import blocks, choose, reconstruction, rules, search, trials
from edgecut.passes.prune.attempt import Attempt, Workshop
from edgecut.passes.prune.dims import ChannelGroup
from edgecut.passes.prune.reconstruction import Order
from edgecut.passes.prune.sensitivity import sensitivities

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
    version: ClassVar[int] = 8
    cacheable: ClassVar[bool] = True
    numeric: ClassVar[bool] = True

    ratio: float = option(0.0, help="share of the channels of each group to remove, 0 to below 1")
    macs: float = option(0.0, help="share of multiply-accumulates to save, where it costs least")
    size: float = option(0.0, help="share of the bytes of weights to save, where it costs least")
    speedup: float = option(1.0, help="times as fast on the profiled edge target; profiled again to be sure")
    calibration: Path | None = option(None, help=".npz, .npy or folder of images", file=True)
    importance: Literal["auto", "l1", "l2", "effect"] = option(
        "auto", help="what channels are judged by; auto: effect where there is calibration data, else l2"
    )
    multiple: int = option(1, help="keep a multiple of so many channels, as fast kernels like")
    samples: int | None = option(None, help="use only so many samples, from the start")
    unlabelled: Path | None = option(
        None, help="more inputs, of anything alike, to refit the whole to; none are judged by", file=True
    )
    augment: Kind = option(
        "none",
        help="flip: refit to every image mirrored too; auto: and the whole to inputs altered and mixed, some "
        "so that the original sees better ones",
    )
    refit: Literal["auto", "layers", "blocks", "whole"] = option(
        "auto",
        help="layers: one by one; blocks: then those of a block together; whole: then all; auto: whole with "
        "torch, if quick",
    )
    max_accuracy_drop: float | None = option(None, help="budget: points of top-1, with labels")
    min_sqnr: float | None = option(None, help="budget: dB at the worst output")
    min_agreement: float | None = option(None, help="budget: share of samples with the same top-1, 0 to 1")
    best_effort: bool = option(False, help="go on where the budget cannot be met")

    def check_before(self, program: Program) -> None:
        """Refuse options that make no sense, and a program that is quantized already."""
        for name in ("ratio", "macs", "size"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"is {getattr(self, name)}", where=f"prune{{{name}}}", hint="0 up to, but not, 1"
                )
        if self.speedup < 1:
            raise UsageError(f"is {self.speedup}", where="prune{speedup}", hint="1.5: half as fast again")
        if sum(map(bool, (self.ratio, self.macs, self.size, self.speedup > 1))) > 1:
            raise UsageError("takes one of ratio, macs, size and speedup", where="prune")
        self._budget.check()
        if self._budget and self.calibration is None:
            raise UsageError("needs calibration data to judge its budget by", where="prune")
        for name in ("multiple", "samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"is {value}", where=f"prune{{{name}}}", hint="at least 1")
        if self.refit in ("blocks", "whole") or self.unlabelled is not None:
            require_torch()
        if self.unlabelled is not None and (self.calibration is None or self.refit in ("layers", "blocks")):
            what = "is used only where the whole is refitted to calibration data"
            raise UsageError(what, where="prune{unlabelled}", hint="calibration, and refit=whole or auto")
        if self.importance == "effect" and self.calibration is None:
            raise UsageError(
                "needs calibration data", where="prune{importance=effect}", hint="--calibration DATA"
            )
        if self._is_on and any(n.op_type == "QuantizeLinear" for n in program.nodes):
            raise ModelError("is quantized already", where=program.graph.name, hint="prune before quantize")
        if self.speedup > 1 and annotations.get(program.model, Profile) is None:
            raise UsageError("needs a profile", where="prune{speedup}", hint="profile{edge=TARGET} before it")

    def run(self, program: Program, context: Context) -> Program:
        """Find the groups, remove the least important channels, and refit."""
        if not self._is_on:
            return program
        groups = rules.groups(program)
        dataset, more = self._load(program), self._more(program)
        judge = None
        if dataset is not None:
            constant.tell(dataset, context)
            unseen = split.test(dataset)
            judge = Judge(numerics.reference(program), unseen, unseen.labels)
        orders = self._orders(program, groups, dataset)
        together = dataset is not None and self._fits_blocks(program)
        if more is not None and not together:
            context.warn(
                "too large a network to refit as a whole in minutes: unlabelled is not used (refit=whole)"
            )
        shop = Workshop(program, groups, orders, dataset, judge, self.augment, context, together)
        if dataset is not None and self.importance not in ("l1", "l2") and not self.ratio and len(groups) > 1:
            shop = replace(shop, orders=trials.corrected(shop, self.multiple))
        found = self._search(shop)
        if found is None or not found.removed:
            return self._nothing(shop)
        if together and self.refit != "blocks":
            found = self._finished(shop, found, more)
        if found.quality is not None:
            self._tell(found.quality, program, context)
        context.metrics = {
            "groups": len(groups), "channels_removed": found.removed, **_figures(program, "_before"),
            **_judged(judge, found.program), **_figures(found.program, ""),
        }  # fmt: skip
        return found.program

    def _search(self, shop: Workshop) -> Attempt | None:
        """The pruned program that was asked for."""
        if self.ratio:
            return shop.attempt(choose.by_ratio(shop.groups, self.ratio, self.multiple))
        if self.speedup > 1:
            return search.faster(shop, self.speedup, self.multiple, best_effort=self.best_effort)
        if self.size:
            return search.smaller(shop, self.size, self.multiple, best_effort=self.best_effort)
        if self.macs:
            found = search.counts(shop, "macs", self.macs, self.multiple, best_effort=self.best_effort)
            return shop.attempt(found)
        return search.most(shop, self._budget, self.multiple)

    def _finished(self, shop: Workshop, found: Attempt, more: Dataset | None) -> Attempt:
        """With the whole refitted, unless the budget holds without it only."""
        whole = shop.finished(found, more)
        holds = [one.quality is not None and self._budget.holds(one.quality) for one in (found, whole)]
        return found if holds == [True, False] else whole

    def _nothing(self, shop: Workshop) -> Program:
        """Say that no channel can be removed."""
        program, hint = shop.program, "no prune"
        if not shop.groups:
            what = "has no removable channel"
        elif self._budget and not (self.ratio or self.macs or self.size or self.speedup > 1):
            what, hint = "no channel can be spared within the accuracy budget", "a wider budget, or no prune"
        else:
            what, hint = "no group has a channel to spare", "a larger ratio, or no prune"
        if self.best_effort and shop.groups:
            shop.context.warn(f"{what}: nothing is pruned")
            return program
        raise ModelError(what, where=program.graph.name, hint=f"nothing was changed; {hint}")

    def _tell(self, quality: Quality, program: Program, context: Context) -> None:
        """Hold the budget; without one, a loss that nobody can want is told."""
        if self._budget:
            self._budget.require(quality, program.graph.name, self.best_effort, context.warn)
        elif quality.agreement is not None and quality.agreement < ALARMING:
            context.warn(f"pruning left {quality} on samples held out: prune less, or set a budget")

    def _fits_blocks(self, program: Program) -> bool:
        return self.refit in ("blocks", "whole") or (
            self.refit == "auto" and has_torch() and blocks.is_quick(program)
        )

    @property
    def _is_on(self) -> bool:
        return bool(self.ratio or self.macs or self.size or self.speedup > 1 or self._budget)

    @property
    def _budget(self) -> Budget:
        return Budget(self.max_accuracy_drop, self.min_sqnr, self.min_agreement)

    def _load(self, program: Program) -> Dataset | None:
        if self.calibration is None:
            return None
        dataset = data.load(self.calibration, program.inputs, self.samples, numerics.classes(program))
        if len(dataset) < split.EVERY:
            what = f"{len(dataset)} samples are too few to refit weights to"
            raise ModelError(what, where=str(self.calibration), hint=f"at least {split.EVERY}, better 100")
        self._budget.check_data(dataset, self.calibration, program)
        return dataset

    def _more(self, program: Program) -> Dataset | None:
        """More inputs; all are read once, so that what is wrong with them shows at the start."""
        if self.unlabelled is None:
            return None
        more = data.load(self.unlabelled, program.inputs)
        for _ in more:
            pass
        return more

    def _orders(
        self, program: Program, groups: Sequence[ChannelGroup], dataset: Dataset | None
    ) -> list[Order]:
        magnitudes = [choose.by_magnitude(group, 1 if self.importance == "l1" else 2) for group in groups]
        if dataset is None or self.importance in ("l1", "l2"):
            return magnitudes
        seen = split.fit(dataset)
        moments = reconstruction.moments(program, seen)
        sensitivity = sensitivities(program, seen, moments)
        effects = [reconstruction.order(group, moments, sensitivity) for group in groups]
        return [effect or other for effect, other in zip(effects, magnitudes, strict=True)]


def _judged(judge: Judge | None, program: Program) -> dict[str, float | str]:
    return {} if judge is None else judge.difference(program).metrics()


def _figures(program: Program, suffix: str) -> dict[str, float | str]:
    floats = [v.const_value for v in program.graph.initializers.values() if v.const_value is not None]
    params = sum(t.size for t in floats if t.dtype.is_floating_point())
    return {
        f"params{suffix}": params,
        f"macs{suffix}": sum(map(work.macs, program.nodes)),
        f"weight_bytes{suffix}": program.weight_bytes(),
    }
