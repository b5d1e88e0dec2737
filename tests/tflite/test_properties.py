"""Operator families with shapes and attributes as they come, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

Draw = Callable[[Any], Any]
Case = tuple[Any, dict[str, Any], dict[str, Any]]
"""A node, the shapes of its inputs, and its constants."""

RANDOM = np.random.default_rng(0)
sizes = st.integers(1, 5)
MODES = ("NOTSET", "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def node(kind: str, inputs: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(" "), ["y"], **attributes)


def shape(draw: Draw, low: int = 1, high: int = 4) -> list[int]:
    return list(draw(st.lists(sizes, min_size=low, max_size=high)))


def axis(draw: Draw, rank: int) -> int:
    return int(draw(st.integers(-rank, rank - 1)))


def numbers(*dims: int) -> Any:
    return RANDOM.normal(size=dims).astype("f4")


def broadcasting(draw: Draw) -> Case:
    x = shape(draw)
    y = [n if draw(st.booleans()) else 1 for n in x][draw(st.integers(0, len(x))) :]
    kind = draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu"]))
    if draw(st.booleans()) and kind != "PRelu":
        return node(kind, "b a"), {"a": x}, {"b": numbers(*y) + 3}
    return node(kind, "a b"), {"a": x}, {"b": numbers(*y) + 3}


def reduction(draw: Draw) -> Case:
    x = shape(draw)
    axes = draw(st.lists(st.integers(0, len(x) - 1), unique=True, max_size=len(x)))
    kinds = ["ReduceMean", "ReduceMax", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"]
    keep = draw(st.integers(0, 1))
    made = node(draw(st.sampled_from(kinds)), "x axes" if axes else "x", keepdims=keep)
    return made, {"x": x}, {"axes": np.array(axes, "i8")} if axes else {}


def pool(draw: Draw) -> Case:
    rank = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, 3)) for _ in range(rank)],
        "ceil_mode": draw(st.integers(0, 1)),
    }
    mode = draw(st.sampled_from(MODES))
    if mode == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, k - 1)) for _ in range(2) for k in kernel]
    else:
        # ONNX Runtime refuses SAME where the steps are longer than the window.
        steps = map(min, attributes["strides"], kernel)
        attributes |= {"auto_pad": mode, "ceil_mode": 0, "strides": list(steps)}
    if kind == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    if mode == "NOTSET" and (rank < 3 or kind == "AveragePool"):
        attributes["dilations"] = [draw(st.integers(1, 2)) for _ in range(rank)]
    return node(kind, "x", **attributes), {"x": [1, 3, *[draw(st.integers(6, 9)) for _ in range(rank)]]}, {}


def convolution(draw: Draw) -> Case:
    rank, group = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 4]))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    attributes: dict[str, Any] = {
        "strides": [draw(st.integers(1, 3)) for _ in range(rank)],
        "dilations": [draw(st.integers(1, 2)) for _ in range(rank)], "group": group,
    }  # fmt: skip
    mode = draw(st.sampled_from(MODES))
    if mode == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
    else:
        attributes |= {"auto_pad": mode, "dilations": [1] * rank}
    weights = {"w": numbers(8, 4 // group, *kernel) / 4, "b": numbers(8)}
    inputs = {"x": [1, 4, *[draw(st.integers(8, 11)) for _ in range(rank)]]}
    if rank < 3 and draw(st.integers(0, 4)) == 0:  # weights that are computed
        return node("Conv", "x w b", **attributes), {**inputs, "w": list(weights.pop("w").shape)}, weights
    return node("Conv", "x w b", **attributes), inputs, weights


def transposed_convolution(draw: Draw) -> Case:
    rank, group = draw(st.integers(1, 2)), draw(st.sampled_from([1, 2]))
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    pad = draw(st.integers(0, kernel - 1))
    extra = draw(st.integers(0, stride - 1))
    attributes: dict[str, Any] = {
        "strides": [stride] * rank, "pads": [pad] * (2 * rank), "group": group,
        "output_padding": [extra] * rank,
    }  # fmt: skip
    weights = {"w": numbers(4, 6 // group, *[kernel] * rank) / 4, "b": numbers(6)}
    return (
        node("ConvTranspose", "x w b", **attributes),
        {"x": [1, 4, *[draw(st.integers(4, 6))] * rank]},
        weights,
    )


def product(draw: Draw) -> Case:
    batch, (m, k, n) = shape(draw, 0, 2), (draw(sizes) for _ in range(3))
    if draw(st.booleans()):
        return node("MatMul", "a b"), {"a": [*batch, m, k]}, {"b": numbers(k, n)}
    other = [d if draw(st.booleans()) else 1 for d in batch]
    return node("MatMul", "a b"), {"a": [*batch, m, k], "b": [*other, k, n]}, {}


def gemm(draw: Draw) -> Case:
    m, k, n = (draw(sizes) for _ in range(3))
    left, right = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    c = draw(st.sampled_from([(n,), (1, n), (m, n), (1,), (m, 1)]))
    made = node(
        "Gemm", "a b c", transA=left, transB=right, alpha=0.5, beta=draw(st.sampled_from([0.0, 1.0, 2.0]))
    )
    return (
        made,
        {"a": [k, m] if left else [m, k]},
        {"b": numbers(*((n, k) if right else (k, n))), "c": numbers(*c)},
    )


def slicing(draw: Draw) -> Case:
    x = shape(draw)
    at = draw(st.lists(st.integers(0, len(x) - 1), unique=True, min_size=1, max_size=len(x)))
    step = [draw(st.sampled_from([-2, -1, 1, 2])) for _ in at]
    starts = [draw(st.integers(0, x[a] - 1)) for a in at]
    ends = [
        draw(st.integers(s + 1, x[a] + 2)) if d > 0 else -x[a] - 1
        for s, d, a in zip(starts, step, at, strict=True)
    ]
    arrays = {"s": starts, "e": ends, "a": at, "d": step}
    return node("Slice", "x s e a d"), {"x": x}, {k: np.array(v, "i8") for k, v in arrays.items()}


def padding(draw: Draw) -> Case:
    x = [draw(st.integers(3, 5)) for _ in range(draw(st.integers(1, 4)))]
    mode = draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    low = -1 if mode == "constant" else 0
    pads = [draw(st.integers(low, 2)) for _ in range(2 * len(x))]
    value = {"v": np.float32(draw(st.sampled_from([0.0, 1.5])))}
    return node("Pad", "x p v", mode=mode), {"x": x}, {"p": np.array(pads, "i8"), **value}


def resize(draw: Draw) -> Case:
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    coordinates = draw(st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]))
    rounding = draw(st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
    size = [draw(st.integers(2, 6)), draw(st.integers(2, 6))]
    target = [1, 2, *[draw(st.integers(1, 9)) for _ in size]]
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    return node("Resize", "x   z", **attributes), {"x": [1, 2, *size]}, {"z": np.array(target, "i8")}


def resize_smoothly(draw: Draw) -> Case:
    """Less than half as large, by filters that look at all that becomes one element."""
    mode = draw(st.sampled_from(["linear", "cubic"]))
    size = [draw(st.integers(4, 12)), draw(st.integers(4, 12))]
    target = [1, 2, *[draw(st.integers(1, n)) for n in size]]
    attributes = {"mode": mode, "antialias": 1, "coordinate_transformation_mode": "half_pixel"}
    return node("Resize", "x   z", **attributes), {"x": [1, 2, *size]}, {"z": np.array(target, "i8")}


def crop_and_resize(draw: Draw) -> Case:
    mode = draw(st.sampled_from(["nearest", "linear"]))
    size = [draw(st.integers(2, 6)), draw(st.integers(2, 6))]
    target = [1, 2, *[draw(st.integers(1, 7)) for _ in size]]
    # ONNX Runtime copies what keeps its size, whatever the region.
    assume(all(new != old for new, old in zip(target[2:], size, strict=True)))
    # Sixteenths: no position lies on an edge by rounding in one and beside it in the other.
    starts = [draw(st.integers(-4, 8)) / 16 + 0.01 for _ in size]
    ends = [s + draw(st.integers(1, 16)) / 16 for s in starts]
    roi = np.array([0, 0, *starts, 1, 1, *ends], "f4")
    attributes = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize",
                  "extrapolation_value": draw(st.sampled_from([0.0, 7.0]))}  # fmt: skip
    constants = {"r": roi, "z": np.array(target, "i8")}
    return node("Resize", "x r  z", **attributes), {"x": [1, 2, *size]}, constants


def resize_in_proportion(draw: Draw) -> Case:
    policy = draw(st.sampled_from(["not_larger", "not_smaller"]))
    mode = draw(st.sampled_from(["nearest", "linear"]))
    size = [draw(st.integers(2, 6)), draw(st.integers(2, 6))]
    target = np.array([draw(st.integers(2, 9)) for _ in size], "i8")
    attributes = {"mode": mode, "keep_aspect_ratio_policy": policy, "axes": [2, 3]}
    return node("Resize", "x   z", **attributes), {"x": [1, 2, *size]}, {"z": target}


def powers_pooled(draw: Draw) -> Case:
    rank = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel, "p": draw(st.integers(1, 3)),
        "strides": [draw(st.integers(1, 2)) for _ in range(rank)],
        "pads": [draw(st.integers(0, k - 1)) for _ in range(2) for k in kernel],
    }  # fmt: skip
    if rank == 2:  # what else ONNX Runtime refuses
        attributes["dilations"] = [draw(st.integers(1, 2)) for _ in range(rank)]
    return (
        node("LpPool", "x", **attributes),
        {"x": [1, 3, *[draw(st.integers(6, 9)) for _ in range(rank)]]},
        {},
    )


def scattering(draw: Draw) -> Case:
    x = shape(draw, 1, 3)
    how = draw(st.sampled_from(["none", "add", "mul", "max", "min"]))
    if draw(st.booleans()):
        at = axis(draw, len(x))
        count = draw(st.integers(1, x[at])) if how == "none" else draw(st.integers(1, 4))
        own = [count if i == at % len(x) else draw(st.integers(1, d)) for i, d in enumerate(x)]
        indices = RANDOM.integers(-x[at], x[at], size=own)
        if how == "none":  # no element twice
            indices = np.argsort(
                RANDOM.random((*own[: at % len(x)], x[at], *own[at % len(x) + 1 :])), at % len(x)
            )
            indices = indices.take(range(count), at % len(x))
        made = node("ScatterElements", "x i u", axis=at, reduction=how)
        return made, {"x": x}, {"i": indices.astype("i8"), "u": numbers(*own)}
    depth = draw(st.integers(1, len(x)))
    count = draw(st.integers(1, 4))
    places = RANDOM.integers(0, np.prod(x[:depth]), size=count)
    places = np.unique(places) if how == "none" else places
    indices = np.stack(np.unravel_index(places, x[:depth]), -1)
    made = node("ScatterND", "x i u", reduction=how)
    return made, {"x": x, "u": [len(places), *x[depth:]]}, {"i": indices.astype("i8")}


def fourier(draw: Draw) -> Case:
    x = [*shape(draw, 1, 2), draw(st.sampled_from([1, 2]))]
    if draw(st.booleans()):
        onesided = int(x[-1] == 1 and draw(st.booleans()))
        length = {"n": np.array(draw(st.integers(1, 7)), "i8")} if draw(st.booleans()) else {}
        at = np.array(draw(st.integers(0, len(x) - 2)), "i8")
        inverse = 0 if onesided else draw(st.integers(0, 1))
        made = node("DFT", "x n a" if length else "x  a", inverse=inverse, onesided=onesided)
        return made, {"x": x}, {**length, "a": at}
    length = draw(st.integers(2, 8))
    signal = [2, length + draw(st.integers(0, 20)), 1]
    step = {"s": np.array(draw(st.integers(1, 5)), "i8"), "w": np.abs(numbers(length))}
    return node("STFT", "x s w", onesided=draw(st.integers(0, 1))), {"x": signal}, step


def normalization(draw: Draw) -> Case:
    x = [draw(sizes), 4, *shape(draw, 1, 2)]
    kind = draw(
        st.sampled_from(["LayerNormalization", "InstanceNormalization", "GroupNormalization", "Softmax"])
    )
    if kind == "Softmax":
        return node(kind, "x", axis=axis(draw, len(x))), {"x": x}, {}
    if kind == "LayerNormalization":
        at = axis(draw, len(x))
        return node(kind, "x s b", axis=at), {"x": x}, {"s": numbers(*x[at:]), "b": numbers(*x[at:])}
    extra = {"num_groups": 2} if kind == "GroupNormalization" else {}
    return node(kind, "x s b", **extra), {"x": x}, {"s": numbers(4), "b": numbers(4)}


def picking(draw: Draw) -> Case:
    x = shape(draw)
    at = axis(draw, len(x))
    n = x[at]
    count = draw(st.integers(1, 4))
    if draw(st.booleans()):
        indices = RANDOM.integers(-n, n, size=(count,) if draw(st.booleans()) else (2, count))
        return node("Gather", "x i", axis=at), {"x": x}, {"i": indices}
    own = [count if i == at % len(x) else d for i, d in enumerate(x)]
    return node("GatherElements", "x i", axis=at), {"x": x}, {"i": RANDOM.integers(-n, n, size=own)}


def moving(draw: Draw) -> Case:
    x = shape(draw, 2)
    kind = draw(st.sampled_from(["Transpose", "Tile", "Expand", "CumSum", "Flatten"]))
    if kind == "Transpose":
        return node(kind, "x", perm=draw(st.permutations(range(len(x))))), {"x": x}, {}
    if kind == "Tile":
        return node(kind, "x r"), {"x": x}, {"r": np.array([draw(st.integers(1, 3)) for _ in x], "i8")}
    if kind == "Expand":
        wide = [n if n > 1 else draw(sizes) for n in x]
        return node(kind, "x r"), {"x": x}, {"r": np.array([draw(sizes), *wide], "i8")}
    at = axis(draw, len(x))
    if kind == "Flatten":
        return node(kind, "x", axis=at), {"x": x}, {}
    options = {"exclusive": draw(st.integers(0, 1)), "reverse": draw(st.integers(0, 1))}
    return node(kind, "x a", **options), {"x": x}, {"a": np.array(at, "i4")}


def integers(draw: Draw) -> Case:
    x = shape(draw)
    kind = draw(st.sampled_from(["Add", "Sub", "Mul", "Max", "Min"]))
    dtype = draw(st.sampled_from([TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8, TensorProto.INT8]))
    if dtype in (TensorProto.UINT8, TensorProto.INT8) and kind not in ("Max", "Min"):
        dtype = TensorProto.INT32  # ONNX Runtime has no such kernels
    return node(kind, "a b"), {"a": (x, dtype), "b": (x, dtype)}, {}


FAMILIES = [
    broadcasting, reduction, pool, convolution, transposed_convolution, product, gemm, slicing, padding,
    resize, resize_smoothly, crop_and_resize, resize_in_proportion, powers_pooled, scattering, fourier,
    normalization, picking, moving, integers,
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES, ids=[f.__name__ for f in FAMILIES])
def test_operators_of_any_shape(
    tester: Any, model: Any, examples: int, family: Callable[[Draw], Case]
) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(data=st.data())
    def check(data: Any) -> None:
        made, inputs, constants = family(data.draw)
        tester(model([made], inputs, ["y"], constants, opset=21)).lower().compare()

    check()
