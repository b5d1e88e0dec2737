"""An explanation as text."""

from collections.abc import Iterator

from edgecut.passes.partition.explain import Binding, Change, Explanation
from edgecut.passes.partition.mixed import shown

MOST_PINNED = 5


def text(found: Explanation) -> str:
    """What binds the cut, what comes next, and what would move it."""
    price = shown(found.chosen.price, found.unit)
    lines = [f"{found.chosen.cut.name}: {found.objective} {price}"]
    if found.together is not None:
        lines.append(f"its encodings together: {found.together.describe()}")
    lines += ["", "next best"]
    ranked = [f"  {shown(r.price, found.unit):>10}  {r.cut.name}" for r in found.runners_up]
    lines += ranked or ["  no other cut"]
    if not found.complete:
        lines.append("  (of the cuts where one tensor crosses; there are too many others)")
    lines += ["", "budgets", *(_binding(b, found) for b in found.bindings)] if found.bindings else []
    if found.ruled_out:
        lines += ["", "encodings that together do more than the error budgets allow, with all coarser ones"]
        lines += [f"  {name}" for name in found.ruled_out]
    lines += ["", "what would move it, nearest first", *_changes(found)]
    if found.pinned:
        lines += ["", f"{len(found.pinned)} groups have no choice", *_pinned(found)]
    return "\n".join(lines)


def _binding(budget: Binding, found: Explanation) -> str:
    used = f"{shown(budget.value, budget.unit)} of {shown(budget.limit, budget.unit)}"
    if budget.instead is None or budget.needs is None:
        return f"  {budget.name}: {used}, does not bind"
    saved, needs = shown(budget.loss, found.unit), shown(budget.needs, budget.unit)
    return f"  {budget.name}: {used}, binds: {needs} would allow {budget.instead}, {saved} better"


def _changes(found: Explanation) -> Iterator[str]:
    if not found.changes:
        yield "  nothing that was tried"
    for change in found.changes:
        yield f"  {change.parameter} {_move(change)}: {change.to}"


def _move(change: Change) -> str:
    word = "above" if change.at > change.now else "below"
    if change.unit == "x":
        return f"{word} {change.at:.3g} times what it is"
    if change.unit == "s":
        return f"{word} {shown(change.at, 's')} (now {shown(change.now, 's')})"
    return f"{word} {change.at:.3g} {change.unit} (now {change.now:.3g})"


def _pinned(found: Explanation) -> Iterator[str]:
    yield from (f"  {reason}" for reason in found.pinned[:MOST_PINNED])
    if len(found.pinned) > MOST_PINNED:
        yield f"  and {len(found.pinned) - MOST_PINNED} more"
