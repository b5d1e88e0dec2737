"""Budgets and labels that make no sense are refused before any work is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes.base import Context, Pass
from edgecut.passes.finetune.finetune import Finetune
from edgecut.passes.prune.channels import Prune
from edgecut.passes.quantize.static import Quantize

Save = Callable[..., Path]
Make = Callable[..., Pass]
NONSENSE = [
    ("max_accuracy_drop", float("nan")), ("max_accuracy_drop", -1.0), ("min_agreement", 1.5),
    ("min_agreement", float("nan")), ("min_sqnr", float("nan")), ("min_sqnr", float("inf")),
]  # fmt: skip


@pytest.fixture
def images(save: Save) -> Callable[..., Path]:
    """Calibration data of `residual`, with labels or without."""
    shape = (8, 3, 16, 16)
    return lambda **more: save(image=np.random.default_rng(0).random(shape, np.float32), **more)


@pytest.mark.parametrize(("name", "limit"), NONSENSE)
@pytest.mark.parametrize("kind", [Quantize, Prune, Finetune])
def test_limits_out_of_range_are_refused(
    residual: Program, images: Callable[..., Path], kind: Make, name: str, limit: float
) -> None:
    item = kind(calibration=images(), **{name: limit})
    with pytest.raises(UsageError, match=f"{name} is {limit}"):
        item.check_before(residual)


@pytest.mark.parametrize("item", [Quantize, Prune])
def test_labels_that_are_no_class_are_refused(
    residual: Program, images: Callable[..., Path], item: Make
) -> None:
    path = images(labels=np.array([0, 9, 3, 10, 1, 2, 3, 4]))
    with pytest.raises(ModelError, match="sample 3 has the label 10, but the model has 10 classes"):
        item(calibration=path, max_accuracy_drop=1.0).run(residual, Context())


@pytest.mark.parametrize("item", [Quantize, Prune])
def test_a_drop_needs_labels(residual: Program, images: Callable[..., Path], item: Make) -> None:
    with pytest.raises(ModelError, match="has no labels, which max_accuracy_drop needs"):
        item(calibration=images(), max_accuracy_drop=1.0).run(residual, Context())


def test_data_that_never_change_are_told(residual: Program, save: Save) -> None:
    """Quantize looks at numbers, which here differ; pruning would find nothing that matters."""
    image = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    path = save(image=np.repeat(image, 8, 0))
    for item in (Quantize(calibration=path), Prune(calibration=path, ratio=0.2)):
        told: list[str] = []
        item.run(residual.copy(), Context(warn=told.append))
        assert "image is constant over all calibration data" in told[0]
