"""How much is pruned: until a goal is reached, or as much as an accuracy budget allows."""

from edgecut.ir import annotations
from edgecut.ir.annotations import Profile
from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.budget import Budget
from edgecut.passes.profile.profile import ProfileTargets
from edgecut.passes.prune import choose, resources
from edgecut.passes.prune.attempt import Attempt, Workshop
from edgecut.passes.prune.resources import Resource

# The steps in which a budget is used up: shares of the operations or of the time.
_STEPS = tuple(i / 20 for i in range(1, 19))
# Times that a goal is aimed at: kernels take more than their share of the operations, and biases take room.
_TRIES = 4


def counts(
    shop: Workshop, resource: Resource, share: float, multiple: int, *, best_effort: bool = False
) -> list[int]:
    """Channels to remove from each group, so that a share of a resource is saved.

    Raises:
        ConstraintError: So much cannot be saved. With best effort all that can leave do, and that is told.
    """
    try:
        return choose.by_cost(shop.program, shop.groups, shop.orders, resource, share, multiple)
    except ConstraintError as error:
        if not best_effort or not shop.groups:
            raise
        shop.context.warn(error.what)
        return _all(shop, multiple)


def smaller(shop: Workshop, share: float, multiple: int, *, best_effort: bool) -> Attempt:
    """A program that has so much smaller weights, the biases that refitting adds counted.

    Raises:
        ConstraintError: So much cannot be saved. With best effort it is the smallest found, and that is told.
    """
    before, wanted = shop.program.weight_bytes(), share
    for _ in range(_TRIES):
        left = _most(shop, "size", wanted, multiple)
        found = shop.attempt(left)
        excess = found.program.weight_bytes() / before - (1 - share)
        if excess <= 0:
            return found
        if left == _all(shop, multiple):
            break
        wanted += excess
    what = f"cannot save {100 * share:.3g} % of the size, {100 * (share - excess):.3g} % at most"
    _miss(what, "a smaller share", shop, best_effort)
    return found


def faster(shop: Workshop, speedup: float, multiple: int, *, best_effort: bool) -> Attempt:
    """A program so many times as fast, by a new profile of it on the same targets.

    Raises:
        ConstraintError: It does not become so fast. With best effort it is the fastest, and that is told.
    """
    before = resources.seconds(shop.program)
    aim, share = before / speedup, 1 - 1 / speedup
    fastest, best = before, [0] * len(shop.groups)
    for _ in range(_TRIES):
        wanted = _most(shop, "seconds", share, multiple)
        time = _profiled(shop.bare(wanted), shop.program)
        if time <= aim:
            return shop.attempt(wanted)
        if time < fastest:
            fastest, best = time, wanted
        if wanted == _all(shop, multiple):
            break
        share = 1 - (1 - share) * 0.98 * aim / time
    what = f"becomes {before / fastest:.2f} times as fast at most, not {speedup:g} times"
    _miss(what, "a smaller speedup", shop, best_effort)
    return shop.attempt(best)


def _most(shop: Workshop, resource: Resource, share: float, multiple: int) -> list[int]:
    """Channels to remove so that a share of a resource is saved, or all that can leave."""
    try:
        return counts(shop, resource, min(share, 0.999), multiple)
    except ConstraintError:
        return _all(shop, multiple)


def _all(shop: Workshop, multiple: int) -> list[int]:
    """All channels that can leave each group."""
    return choose.by_ratio(shop.groups, 1.0, multiple)


def _miss(what: str, hint: str, shop: Workshop, best_effort: bool) -> None:
    if not best_effort:
        raise ConstraintError(what, where=shop.program.graph.name, hint=f"nothing was changed; {hint}")
    shop.context.warn(what)


def most(shop: Workshop, budget: Budget, multiple: int) -> Attempt | None:
    """As much as the accuracy budget allows, of the time where there is a profile, else of the operations."""
    resource: Resource = "seconds" if resources.seconds(shop.program) else "macs"
    low, high = -1, len(_STEPS)
    best: Attempt | None = None
    while high - low > 1:
        middle = (low + high) // 2
        found = _try(shop, resource, _STEPS[middle], multiple)
        if found is not None and found.quality is not None and budget.holds(found.quality):
            low, best = middle, found
        else:
            high = middle
    return best


def _try(shop: Workshop, resource: Resource, share: float, multiple: int) -> Attempt | None:
    try:
        wanted = counts(shop, resource, share, multiple)
    except ConstraintError:
        return None
    return shop.attempt(wanted)


def _profiled(pruned: Program, before: Program) -> float:
    """Seconds of a program on the targets that another was profiled on."""
    profile = annotations.get(before.model, Profile)
    assert profile is not None
    item = ProfileTargets(edge=profile.edge, cloud=profile.cloud)
    return resources.seconds(item.run(pruned, Context()))
