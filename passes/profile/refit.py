"""Fits the figures of a device to measured profiles: what ``edgecut profile --fit`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgecut.ir.errors import ModelError, UsageError
from edgecut.passes.profile.report import Report, Side
from edgecut.profilers import fit
from edgecut.profilers.fit import Sample
from edgecut.targets.spec import Device

# A group below this is mostly the resolution of a clock that counts whole microseconds.
LEAST_S = 1e-6


def samples(reports: Sequence[Report], side: Side) -> list[Sample]:
    """Measured groups, but for those too short to tell anything.

    Raises:
        ModelError: Nothing was measured on this side.
    """
    found = []
    for number, report in enumerate(reports):
        for row in report.rows:
            time = row.time(side)
            if time is None or time.source != "measured" or time.seconds < LEAST_S:
                continue
            found.append(Sample(report.model, (row.work,), time.seconds, str(number)))
    if not found:
        raise ModelError(f"nothing was measured on the {side}", hint="profile with --edge local or ssh://...")
    return found


def device(base: Device, reports: Sequence[Report], side: Side) -> Device:
    """A device with its figures fitted to profiles measured on it.

    Args:
        base: Gives all but the figures; its peaks, if it has any, are what efficiencies are fractions of.
        reports: Measured profiles.
        side: The side on which it stood in them.

    Raises:
        UsageError: One model is too little to tell how well others are predicted.
        ModelError: Nothing was measured.
    """
    measured = samples(reports, side)
    models = {s.model for s in measured}
    if len(models) < 2:
        raise UsageError(
            "it takes profiles of two models at least", hint="the error is that of a model held out"
        )
    of = f"operators of {len(models)} models measured on the device, each model held out in turn"
    table = fit.rates(measured)
    figures = base.compute or fit.peaks(table)
    fitted = fit.compute(figures, table, fit.cross_validate(measured, of))
    return replace(base, compute=fitted, reach="")


def new(name: str, reports: Sequence[Report]) -> Device:
    """A target from nothing but profiles measured on it.

    Raises:
        UsageError: One model is too little.
        ModelError: Nothing was measured on the edge.
    """
    conditions = [r.edge_conditions for r in reports if r.edge_conditions is not None]
    machine = next((c.machine for c in conditions if c.machine), name)
    threads = max((c.threads for c in conditions), default=1)
    blank = Device(name, f"{machine}, as measured with {threads} thread(s)", "edge", "litert", threads, 1024)
    return device(blank, reports, "edge")
