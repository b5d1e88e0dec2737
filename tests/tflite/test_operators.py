"""Operators against ONNX Runtime, and what is refused with which reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

RANDOM = np.random.default_rng(0)


def weights(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype("f4") / 4


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("bhqd,bhkd->bhqk", [(1, 2, 3, 4), (1, 2, 5, 4)]),
        ("i,j->ij", [(3,), (4,)]),
        ("ij->ji", [(3, 4)]),
        ("ij->i", [(3, 4)]),
        ("ijk,kl", [(2, 3, 4), (4, 5)]),
    ],
)
def test_einsum(tester: Any, model: Any, equation: str, shapes: list[tuple[int, ...]]) -> None:
    names = [f"x{i}" for i in range(len(shapes))]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    inputs = {n: list(s) for n, s in zip(names, shapes, strict=True)}
    tester(model([node], inputs, ["y"])).lower().compare()


@pytest.mark.parametrize("kind", ["Sum", "L2", "LogSum", "LogSumExp"])
def test_a_reduction_over_no_axes_keeps_the_shape(tester: Any, model: Any, kind: str) -> None:
    node = helper.make_node(f"Reduce{kind}", ["x"], ["y"], keepdims=0, noop_with_empty_axes=1)
    tester(model([node], {"x": [2, 3]}, ["y"], opset=21)).lower().compare({"x": abs(weights(2, 3)) + 1})


def test_squeeze_of_no_axes_removes_all_dimensions_of_one(tester: Any, model: Any) -> None:
    node = helper.make_node("Squeeze", ["x", "axes"], ["y"])
    graph = model([node], {"x": [1, 3, 1]}, {"y": [3]}, {"axes": np.zeros(0, "i8")})
    tester(graph).lower().compare()


@pytest.mark.parametrize("sizes", [(7, 9), (2, 5), (12, 2)])
def test_nearest_pixels_as_tensorflow_once_counted_them(tester: Any, model: Any, sizes: Any) -> None:
    more = {"mode": "nearest", "coordinate_transformation_mode": "tf_half_pixel_for_nn"}
    node = helper.make_node("Resize", ["x", "roi", "roi", "sizes"], ["y"], **more)
    constants = {"roi": np.zeros(0, "f4"), "sizes": np.array([1, 2, *sizes])}
    tester(model([node], {"x": [1, 2, 4, 6]}, ["y"], constants, opset=11)).lower().compare()


def test_the_largest_of_wide_integers_that_are_known_to_be_narrow(tester: Any, model: Any) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["w"], to=7),
        helper.make_node("TopK", ["w", "k"], ["v", "i"]),
        helper.make_node("ArgMin", ["w"], ["a"], axis=1),
    ]
    graph = model(nodes, {"x": ([3, 6], 6)}, ["v", "i", "a"], {"k": np.array([2])}, 21)
    tester(graph).lower().compare({"x": RANDOM.integers(-(1 << 31), (1 << 31) - 1, (3, 6)).astype("i4")})


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_resizing_of_integers_drops_what_is_behind_the_point(tester: Any, model: Any, dtype: str) -> None:
    more = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **more)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = model([node], {"x": ([1, 2, 5, 6], kind)}, ["y"], {"scales": np.array([1, 1, 2, 2], "f4")}, 19)
    x = RANDOM.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (1, 2, 5, 6)).astype(dtype)
    tester(graph).lower().compare({"x": x})


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_convolution_and_pool_of_any_shape(tester: Any, model: Any, data: Any) -> None:
    draw = data.draw
    rank, kernel = draw(st.sampled_from([1, 2])), draw(st.integers(1, 4))
    stride, dilation, group = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
        draw(st.sampled_from([1, 2, 4])),
    )
    pads = draw(st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank))
    size = draw(st.integers(8, 11))
    conv = helper.make_node(
        "Conv",
        ["x", "w"],
        ["c"],
        strides=[stride] * rank,
        dilations=[dilation] * rank,
        group=group,
        pads=pads,
    )
    pool = helper.make_node("MaxPool", ["c"], ["y"], kernel_shape=[2] * rank, pads=[1] * (2 * rank))
    constants = {"w": weights(8, 4 // group, *[kernel] * rank)}
    graph = model([conv, pool], {"x": [1, 4, *[size] * rank]}, ["y"], constants)
    inside = 2 if rank == 2 else 0  # into channels-last and out again, none between; sequences the same
    test = tester(graph).lower().compare()
    assert test.operators["TRANSPOSE"] <= max(inside, 2)


def test_what_cannot_be_lowered_is_refused_with_its_node_and_reason(tester: Any, model: Any) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="first"),
        helper.make_node("Det", ["a"], ["b"], name="odd"),
        helper.make_node("Relu", ["b"], ["y"], name="last"),
    ]
    test = tester(model(nodes, {"x": [2, 3, 3]}, ["y"]))
    assert test.reasons() == {"odd": "no lowering for Det"}
    with pytest.raises(Exception, match="odd: cannot run on the edge: no lowering for Det"):
        test.lower()


def test_activation_bias_and_scale_are_one_convolution(tester: Any, model: Any) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["c", "s"], ["m"], name="mul"),
        helper.make_node("Relu", ["m"], ["y"], name="relu"),
    ]
    constants = {"w": weights(6, 4, 3, 3), "s": weights(1, 6, 1, 1)}
    test = tester(model(nodes, {"x": [1, 4, 8, 8]}, ["y"], constants))
    assert test.groups() == [("conv", "mul", "relu")]
    test.lower().only(CONV_2D=1, TRANSPOSE=2).compare()
