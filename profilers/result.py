"""What every profiler gives back: the time of each fusion group on one target."""

from __future__ import annotations

from dataclasses import dataclass

from edgecut.ir.annotations import Conditions, Time


@dataclass(frozen=True)
class GroupTimes:
    """Times of one program on one target; the groups add up to the whole."""

    groups: dict[str, Time]
    """By group id. A group that could not run there is absent."""
    total: Time | None
    """The whole model in one go; None where the target cannot run all of it."""
    conditions: Conditions
