"""Whether splitting is worth it: the best split against the best that does without one."""

from edgecut.ir.annotations import CutFigures, Plan
from edgecut.ir.errors import ConstraintError, UsageError
from edgecut.ir.printer import seconds


def percentage(text: str) -> float:
    """The fraction that a text like ``10%`` means.

    Raises:
        UsageError: It is no percentage from 0 to below 100.
    """
    try:
        fraction = float(text.removesuffix("%")) / 100
    except ValueError:
        fraction = -1.0
    if not 0 <= fraction < 1:
        raise UsageError(f"is {text!r}", where="--require-win", hint="a percentage, such as 10%")
    return fraction


def require(plan: Plan, margin: float) -> None:
    """Raise unless the plan's first cut is a split that beats every baseline by a margin.

    The baselines are edge-only and cloud-only with each encoding of the inputs, JPEG among them.

    Args:
        plan: A plan that minimizes the latency.
        margin: Part of the best baseline's latency that has to be saved.

    Raises:
        ConstraintError: It does not.
        UsageError: The plan minimizes something else.
    """
    if plan.objective != "latency":
        raise UsageError("compares latencies", where="--require-win", hint="leave --objective at latency")
    possible = [(b.latency_s, b.name) for b in plan.baselines if b.latency_s is not None]
    chosen = plan.chosen
    if not possible:
        return
    latency, name = min(possible)
    saved = 1 - chosen.latency_s / latency if latency > 0 else 0.0
    if _splits(chosen) and saved >= margin:
        return
    wanted = f"required are {100 * margin:.3g} %"
    if not _splits(chosen):
        raise ConstraintError(f"no split is better than {chosen.cut.name} on {plan.network}; {wanted}")
    ours = f"{chosen.cut.name} takes {seconds(chosen.latency_s)}"
    theirs = f"{name} {seconds(latency)}"
    raise ConstraintError(f"{ours} and {theirs}, a win of {100 * saved:.3g} %; {wanted}")


def _splits(figures: CutFigures) -> bool:
    return figures.cut.name not in ("edge-only", "cloud-only")
