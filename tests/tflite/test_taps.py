"""Depthwise convolutions that are larger than the largest fast kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

RANDOM = np.random.default_rng(0)


def depthwise(model: Any, kernel: tuple[int, int], pads: list[int], size: int = 12, **attributes: Any) -> Any:
    constants = {
        "w": RANDOM.normal(size=(6, 1, *kernel)).astype("f4") / 8, "b": RANDOM.normal(size=6).astype("f4")
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", group=6, pads=pads, **attributes),
        helper.make_node("Relu", ["c"], ["y"], name="relu"),
    ]
    return model(nodes, {"x": [1, 6, size, size]}, ["y"], constants)


@pytest.mark.parametrize(
    ("kernel", "parts"), [((7, 7), 3), ((9, 9), 9), ((1, 31), 4), ((5, 5), 1), ((6, 6), 4)]
)
def test_parts(tester: Any, model: Any, kernel: tuple[int, int], parts: int) -> None:
    half = [k // 2 for k in kernel]
    test = tester(depthwise(model, kernel, [*half, *half])).lower().compare()
    test.count("DEPTHWISE_CONV_2D", parts).count("ADD", parts - 1).count("RELU", 0)


def test_a_stride_stays_whole(tester: Any, model: Any) -> None:
    graph = depthwise(model, (7, 7), [3] * 4, strides=[2, 2])
    tester(graph).lower().count("DEPTHWISE_CONV_2D", 1).compare()


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_kernel_and_padding(tester: Any, model: Any, data: Any) -> None:
    kernel = data.draw(st.tuples(st.integers(1, 11), st.integers(3, 9)))
    dilation = data.draw(st.integers(1, 2))
    pads = data.draw(st.lists(st.integers(0, 8), min_size=4, max_size=4))
    graph = depthwise(model, kernel, pads, size=22, dilations=[dilation] * 2)
    tester(graph).lower().compare()
