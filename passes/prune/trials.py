"""What pruning each group really does to the outputs, by trying it: predictions are off unevenly."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from edgecut.passes import effects, split
from edgecut.passes.base import Context
from edgecut.passes.divergence import Answers
from edgecut.passes.prune import choose
from edgecut.passes.prune.attempt import Workshop
from edgecut.passes.prune.reconstruction import Order

# Multiply-accumulates of all trials together, which limit the samples that each refits to.
_WORK, _LEAST, _MOST = 3e11, 48, 400
# Of networks too large for that: samples, with only the nearest layers refitted.
_FEW = 64
# Networks beyond this many multiply-accumulates in all trials of the few would take an hour.
_TOO_MUCH = 3e12
# Samples held out that judge a trial, of all networks and of large ones.
_JUDGES, _FEW_JUDGES = 256, 32


def corrected(shop: Workshop, multiple: int) -> list[Order]:
    """The orders of a workshop's groups, each with losses as large as a trial shows them to be.

    Half of a group's channels leave, alone, and what is left is refitted. The loss is the divergence of the
    outputs, as in `sensitivity`: a prediction adds up errors of single layers, and knows neither what later
    layers make of them, nor what refitting takes back.

    Of networks too large to try each of their groups so in some minutes only the layers that read the group
    are refitted, on few samples; still larger ones keep the predictions.

    Args:
        shop: With data.
        multiple: Widths are kept multiples of it.
    """
    assert shop.dataset is not None
    macs = max(1, effects.size(shop.program).macs)
    count = int(_WORK / macs / max(1, len(shop.groups)))
    large = count < _LEAST
    if large and macs * len(shop.groups) * _FEW > _TOO_MUCH:
        return list(shop.orders)
    some = split.first(shop.dataset, _FEW if large else min(count, _MOST))
    quiet = replace(shop, dataset=some, judge=None, context=Context(), blocks=False, nearest=large)
    answers = Answers.of(shop.program, islice(split.test(shop.dataset), _FEW_JUDGES if large else _JUDGES))
    found = []
    with shop.context.progress.task("trying groups", len(shop.groups)) as advance:
        for at, order in enumerate(shop.orders):
            found.append(_corrected(quiet, answers, at, order, multiple))
            advance()
    return found


def _corrected(shop: Workshop, answers: Answers, at: int, order: Order, multiple: int) -> Order:
    size = len(shop.groups[at].channels)
    counts = [0] * len(shop.groups)
    counts[at] = choose.by_ratio([shop.groups[at]], 0.5, multiple)[0]
    predicted = order.loss[counts[at] - 1] if counts[at] else 0.0
    if size < 2 or predicted <= 0:
        return order
    loss = answers.divergence(shop.attempt(counts).program)
    return replace(order, loss=tuple(loss / predicted * other for other in order.loss))
