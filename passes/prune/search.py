"""How much is pruned: until a goal is reached, or as much as an accuracy budget allows."""

from edgecut.ir import annotations
from edgecut.ir.annotations import Profile
from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.profile.profile import ProfileTargets
from edgecut.passes.prune import choose, resources
from edgecut.passes.prune.attempt import Attempt, Workshop
from edgecut.passes.prune.resources import Resource
from edgecut.passes.quantize.budget import Budget

# The steps in which a budget is used up: shares of the operations or of the time.
_STEPS = tuple(i / 20 for i in range(1, 19))
# Times that a goal is aimed at: kernels take more than their share of the operations, and biases take room.
_TRIES = 4


def counts(shop: Workshop, resource: Resource, share: float, multiple: int) -> list[int]:
    """Channels to remove from each group, so that a share of a resource is saved.

    Raises:
        ConstraintError: So much cannot be saved.
    """
    return choose.by_cost(shop.program, shop.groups, shop.orders, resource, share, multiple)


def smaller(shop: Workshop, share: float, multiple: int) -> Attempt:
    """A program that has so much smaller weights, the biases that refitting adds counted.

    Raises:
        ConstraintError: So much cannot be saved.
    """
    before, wanted = shop.program.weight_bytes(), share
    for _ in range(_TRIES):
        found = shop.attempt(counts(shop, "size", min(wanted, 0.999), multiple))
        excess = found.program.weight_bytes() / before - (1 - share)
        if excess <= 0:
            break
        wanted += excess
    return found


def faster(shop: Workshop, speedup: float, multiple: int) -> Attempt:
    """A program so many times as fast, by a new profile of it on the same targets.

    Raises:
        ConstraintError: It does not become so fast.
    """
    before = resources.seconds(shop.program)
    aim, best = before / speedup, 1.0
    share = 1 - 1 / speedup
    for _ in range(_TRIES):
        wanted = counts(shop, "seconds", min(share, 0.999), multiple)
        time = _profiled(shop.bare(wanted), shop.program)
        if time <= aim:
            return shop.attempt(wanted)
        best = max(best, before / time)
        share = 1 - (1 - share) * 0.98 * aim / time
    what = f"becomes {best:.2f} times as fast at most, not {speedup:g} times"
    raise ConstraintError(what, where=shop.program.graph.name, hint="a smaller speedup")


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
