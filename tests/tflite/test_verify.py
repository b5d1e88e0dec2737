"""Verifying names the first group that computes something else, with its nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgecut.ir.errors import EdgecutError
from edgecut.targets.tflite import ops, verify
from edgecut.targets.tflite.ops.base import Call

node = helper.make_node


@pytest.fixture
def chain(model: Any) -> Any:
    weights = np.random.default_rng(0).normal(size=(4, 4, 3, 3)).astype("f4")
    nodes = [
        node("Conv", ["x", "w"], ["a"], "first", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"], "relu"),
        node("Tanh", ["b"], ["c"], "broken"),
        node("Conv", ["c", "w"], ["d"], "second", pads=[1, 1, 1, 1]),
        node("Sigmoid", ["d"], ["y"], "last"),
    ]
    return model(nodes, {"x": [1, 4, 6, 6]}, ["y"], {"w": weights})


def _wrong(call: Call) -> Any:
    """A kernel that is nearly right."""
    return call.unary("TANH", call.binary("MUL", call.input(0), call.scalar(1.01)))


def test_a_broken_kernel_is_named_and_only_it(
    tester: Any, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = tester(chain)
    inputs = verify.noise(test.program)
    assert [c for c in verify.groups(test.program, test.cut, inputs) if not c.ok] == []
    monkeypatch.setitem(ops.table(), "Tanh", _wrong)
    checks = list(verify.groups(test.program, test.cut, inputs))
    # What comes after it is given what ONNX Runtime computed, and so is right.
    assert [c.nodes for c in checks if not c.ok] == [("broken",)]
    assert len(checks) == 4
    error = next(c for c in checks if not c.ok).error
    assert 1e-3 < error < 0.02


def test_emitting_stops_at_the_first_group_that_differs(
    tester: Any, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecut.passes.emit import verifying

    test = tester(chain)
    monkeypatch.setitem(ops.table(), "Tanh", _wrong)
    with pytest.raises(EdgecutError, match="broken"):
        verifying.worst(test.program, [test.cut])
