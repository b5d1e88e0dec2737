"""What a program takes, before and after a pass: sizes for its history, and a table of all steps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgecut.ir import annotations, work
from edgecut.ir.annotations import Profile, Time
from edgecut.ir.program import Program, history
from edgecut.passes.pipeline import Event

BEFORE = "before"
"""Name of the first step: the program as it came."""


@dataclass(frozen=True)
class Size:
    """Bytes of the weights, and multiply-accumulates of one inference."""

    weight_bytes: int
    macs: int


@dataclass(frozen=True)
class Effect:
    """A program after one step."""

    step: str
    weight_bytes: int
    macs: int
    edge: Time | None = None
    """One inference on the edge target, where it was profiled after the step."""
    sqnr_db: float | None = None
    """With the imported model as reference, as the step reported it."""
    agreement: float | None = None
    accuracy: float | None = None
    accuracy_before: float | None = None
    """Of the reference on the same samples."""


def size(program: Program) -> Size:
    """What a program takes."""
    return Size(program.weight_bytes(), sum(map(work.macs, program.nodes)))


def changed(before: Size, after: Size) -> dict[str, float | str]:
    """Sizes as a pass reports them; times stand with the profiles."""
    return {
        "weight_bytes_before": before.weight_bytes, "weight_bytes": after.weight_bytes,
        "macs_before": before.macs, "macs": after.macs,
    }  # fmt: skip


def unchanged(program: Program) -> dict[str, float | str]:
    """Sizes as a pass reports them that leaves them as they are."""
    found = size(program)
    return changed(found, found)


class Effects:
    """A listener that keeps what each compressing step did.

    Latencies come from the profile passes: the first one shows what was there before, a later one what the
    step before it made.
    """

    def __init__(self) -> None:
        self.steps: list[Effect] = []

    def __call__(self, event: Event) -> None:
        """Note the program after a pass that compresses or profiles."""
        program, name = event.program, event.item.name
        if event.item.numeric:
            self.steps.append(_effect(name, program, history(program).steps[-1].metrics))
        elif not self.compressed:
            self.steps = [_effect(BEFORE, program, {})]
        elif name == "profile":
            self.steps[-1] = replace(self.steps[-1], edge=_edge(program))

    @property
    def compressed(self) -> bool:
        """Whether there is anything to tell."""
        return len(self.steps) > 1


def _effect(name: str, program: Program, figures: Mapping[str, float | str]) -> Effect:
    own = size(program)

    def number(key: str) -> float | None:
        value = figures.get(key)
        return float(value) if isinstance(value, int | float) else None

    keys = ("sqnr_db", "agreement", "accuracy", "accuracy_before")
    return Effect(name, own.weight_bytes, own.macs, _edge(program), *map(number, keys))


def _edge(program: Program) -> Time | None:
    profile = annotations.get(program.model, Profile)
    return None if profile is None else profile.edge_total
