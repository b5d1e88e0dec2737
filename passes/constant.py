"""Calibration data from which nothing can be learnt."""

from edgecut.frontends.data import Dataset
from edgecut.passes.base import Context


def tell(dataset: Dataset, context: Context) -> None:
    """Warn of inputs that are the same in all samples."""
    warn(dataset.constants(), context)


def warn(names: list[str], context: Context) -> None:
    """Warn of values that are constant."""
    if names:
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        context.warn(f"{names[0]}{more} is constant over all calibration data: are they real inputs?")
