"""Trials tell groups apart by what pruning them does, whatever was predicted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecut.frontends import data
from edgecut.ir.program import Program
from edgecut.passes import split
from edgecut.passes.base import Context
from edgecut.passes.divergence import Answers
from edgecut.passes.prune import choose, rules, trials
from edgecut.passes.prune.attempt import Workshop
from edgecut.passes.prune.reconstruction import Order

Build = Callable[..., Program]
Save = Callable[..., Path]


@pytest.fixture
def shop(build: Build, save: Save) -> Workshop:
    random = np.random.default_rng(0)
    text = """net (float[1,3,6,6] x) => (float[1,4,6,6] y)
    { a = Conv<pads=[1,1,1,1]>(x, wa)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, wb)  s = Relu(b)
      y = Conv(s, wc) }"""
    shapes = {"wa": (8, 3, 3, 3), "wb": (12, 8, 3, 3), "wc": (4, 12, 1, 1)}
    weights = {n: (0.3 * random.standard_normal(shape)).astype(np.float32) for n, shape in shapes.items()}
    program = build(text, **weights)
    inputs = random.standard_normal((64, 3, 6, 6)).astype(np.float32)
    groups = rules.groups(program)
    dataset = data.load(save(x=inputs), program.inputs, None)
    orders = [choose.by_magnitude(group, 2) for group in groups]
    return Workshop(program, groups, orders, dataset, None, "none", Context())


def test_what_was_predicted_does_not_matter(shop: Workshop) -> None:
    wrong = [
        Order(o.channels, tuple(k * x for x in o.loss)) for o, k in zip(shop.orders, (1e3, 1), strict=True)
    ]
    plain, other = trials.corrected(shop, 1), trials.corrected(replace(shop, orders=wrong), 1)
    for first, second in zip(plain, other, strict=True):
        assert first.channels == second.channels
        assert first.loss == pytest.approx(second.loss, rel=1e-9)


def test_the_loss_of_half_a_group_is_what_a_trial_of_it_does(shop: Workshop) -> None:
    found = trials.corrected(shop, 1)
    assert shop.dataset is not None
    for at, (group, order) in enumerate(zip(shop.groups, found, strict=True)):
        counts = [0, 0]
        counts[at] = len(group.channels) // 2
        tried = shop.attempt(counts).program
        error = Answers.of(shop.program, split.test(shop.dataset)).divergence(tried)
        assert order.loss[counts[at] - 1] == pytest.approx(error, rel=1e-6)
        assert 1e-4 < error < 1


def test_a_group_that_cannot_be_halved_is_left_as_it_was(shop: Workshop) -> None:
    assert trials.corrected(shop, 8)[0] == shop.orders[0]


def test_of_large_networks_only_the_layers_that_read_a_group_are_refitted(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_WORK", 0)
    found = trials.corrected(shop, 1)
    near = replace(shop, nearest=True)
    assert shop.dataset is not None
    answers = Answers.of(shop.program, list(split.test(shop.dataset)))
    first = near.attempt([4, 0]).program
    last, before = (p.value("wc").const_value for p in (first, shop.program))
    assert last is not None
    assert before is not None
    assert np.array_equal(last.numpy(), before.numpy())
    assert found[0].loss[3] == pytest.approx(answers.divergence(first), rel=1e-6)
    # The last layer reads the second group: refitting it too would give a smaller loss.
    assert found[0].loss[3] > answers.divergence(shop.attempt([4, 0]).program)
    monkeypatch.setattr(trials, "_TOO_MUCH", 0)
    assert trials.corrected(shop, 1) == list(shop.orders)
