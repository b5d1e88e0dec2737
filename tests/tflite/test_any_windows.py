"""Windows, products, reductions, normalizations, resizing and recurrent layers: any shapes and attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from onnx import helper

Draw = Callable[[Any], Any]
Fields = dict[str, Any]


def shape(draw: Draw, low: int = 1, high: int = 5, most: int = 4) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(1, most), min_size=low, max_size=high)))


def numbers(draw: Draw, dims: Sequence[int]) -> Any:
    return np.random.default_rng(draw(st.integers(0, 999))).normal(size=dims).astype("f4")


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(" "), outputs.split(" "), **attributes)


def image(draw: Draw, channels: int, rank: int, low: int = 4, high: int = 7) -> Any:
    return numbers(
        draw, (draw(st.integers(1, 2)), channels, *(draw(st.integers(low, high)) for _ in range(rank)))
    )


def transposed(draw: Draw) -> Fields:
    rank, group = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 4]))
    kernel, stride, dilation = ([draw(st.integers(1, 3)) for _ in range(rank)] for _ in range(3))
    dilation = [min(d, 2) for d in dilation]
    each = draw(st.integers(1, 2))
    attributes: dict[str, Any] = {"strides": stride, "dilations": dilation, "group": group}
    x = image(draw, 4, rank, 1, 4)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    how = draw(st.sampled_from(["pads", "output_shape", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    extra = [draw(st.integers(0, s - 1)) for s in stride]
    if how == "pads":
        attributes["output_padding"] = extra
        attributes["pads"] = [draw(st.integers(0, r - 1)) for r in reach * 2]
        full = [(n - 1) * s + r + e for n, s, r, e in zip(x.shape[2:], stride, reach, extra, strict=True)]
        assume(all(f > attributes["pads"][i] + attributes["pads"][i + rank] for i, f in enumerate(full)))
    elif how == "output_shape":
        full = [(n - 1) * s + r for n, s, r in zip(x.shape[2:], stride, reach, strict=True)]
        attributes["output_shape"] = [max(1, f - draw(st.integers(0, 1))) for f in full]
    else:
        attributes["auto_pad"] = how
        assume(how == "VALID" or all(r >= s for r, s in zip(reach, stride, strict=True)))
    arrays = {"x": x, "w": numbers(draw, (4, each, *kernel)), "b": numbers(draw, (each * group,))}
    return {"node": node("ConvTranspose", "x w b", **attributes), "arrays": arrays, "fixed": "w",
            "refusals": [f"{group} groups"]}  # fmt: skip


def convolution(draw: Draw) -> Fields:
    """Batches, uneven padding, groups of any size."""
    rank, group, each = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 6])), draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    attributes = {
        "strides": [draw(st.integers(1, 3)) for _ in range(rank)], "group": group,
        "dilations": [draw(st.integers(1, 2)) for _ in range(rank)],
        "pads": [draw(st.integers(0, 3)) for _ in range(2 * rank)],
    }  # fmt: skip
    arrays = {"x": image(draw, 6, rank, 5, 8), "w": numbers(draw, (each * group, 6 // group, *kernel))}
    if draw(st.booleans()):
        arrays["b"] = numbers(draw, (each * group,))
    return {
        "node": node("Conv", " ".join(arrays), **attributes),
        "arrays": arrays,
        "fixed": "wb"[: len(arrays) - 1],
    }


def pool(draw: Draw) -> Fields:
    rank, kind = draw(st.integers(1, 3)), draw(st.sampled_from(["MaxPool", "AveragePool", "LpPool"]))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel, "strides": [draw(st.integers(1, 4)) for _ in range(rank)],
        "ceil_mode": draw(st.integers(0, 1)), "dilations": [draw(st.integers(1, 2)) for _ in range(rank)],
        "pads": [draw(st.integers(0, k - 1)) for k in kernel * 2],
    }  # fmt: skip
    if kind == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    if kind == "LpPool":
        attributes |= {"p": draw(st.integers(1, 3)), "ceil_mode": 0}
    return {"node": node(kind, "x", **attributes), "arrays": {"x": image(draw, 3, rank, 6, 9)}, "opset": 22}


def whole_pool(draw: Draw) -> Fields:
    kind = draw(st.sampled_from(["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"]))
    attributes = {"p": draw(st.integers(1, 3))} if kind == "GlobalLpPool" else {}
    return {
        "node": node(kind, "x", **attributes),
        "arrays": {"x": image(draw, 3, draw(st.integers(1, 3)), 1, 5)},
    }


def product(draw: Draw) -> Fields:
    """Vectors, matrices and batches of them, in any pairing."""
    batch, (m, k, n) = shape(draw, 0, 3, 3), (draw(st.integers(1, 4)) for _ in range(3))
    one, two = (
        tuple(d if draw(st.booleans()) else 1 for d in batch)[draw(st.integers(0, len(batch))) :]
        for _ in "ab"
    )
    left = draw(st.sampled_from([(k,), (*one, m, k)]))
    right = draw(st.sampled_from([(k,), (*two, k, n)]))
    arrays = {"a": numbers(draw, left), "b": numbers(draw, right)}
    if draw(st.booleans()):
        arrays = dict(reversed(arrays.items()))
    return {"node": node("MatMul", "a b"), "arrays": arrays}


def gemm(draw: Draw) -> Fields:
    m, k, n = (draw(st.integers(1, 4)) for _ in range(3))
    left, right = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    c = draw(st.sampled_from([None, (), (n,), (1, n), (m, n), (1,), (m, 1), (1, 1)]))
    arrays = {"a": numbers(draw, (k, m) if left else (m, k)), "b": numbers(draw, (n, k) if right else (k, n))}
    if c is not None:
        arrays["c"] = numbers(draw, c)
    made = node("Gemm", " ".join(arrays), transA=left, transB=right, alpha=draw(st.sampled_from([1.0, 0.5])),
                beta=draw(st.sampled_from([0.0, 1.0, 2.0])))  # fmt: skip
    return {"node": made, "arrays": arrays}


REDUCTIONS = ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")


def reduction(draw: Draw) -> Fields:
    x, kind = numbers(draw, shape(draw, 0, 6)), f"Reduce{draw(st.sampled_from(REDUCTIONS))}"
    x = np.abs(x) if kind == "ReduceLogSum" else x
    dtype = draw(st.sampled_from(["float32", "float32", "int32", "int64", "int8", "uint8", "bool"]))
    if dtype != "float32":
        assume(kind in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"))
        x = np.round(np.abs(x) * 3).astype(dtype)
    axes = (
        draw(
            st.lists(
                st.integers(-x.ndim, x.ndim - 1), unique_by=lambda a: a % max(x.ndim, 1), max_size=x.ndim
            )
        )
        if x.ndim
        else []
    )
    attributes = {"keepdims": draw(st.integers(0, 1)), "noop_with_empty_axes": draw(st.integers(0, 1))}
    if not axes:
        return {"node": node(kind, "x", **attributes), "arrays": {"x": x}}
    return {
        "node": node(kind, "x a", **attributes),
        "arrays": {"x": x, "a": np.array(axes, "i8")},
        "fixed": "a",
    }


def logarithm_of_sums(draw: Draw) -> Fields:
    """Where all numbers are minus infinity, or one is plus infinity."""
    x = (
        np.random.default_rng(draw(st.integers(0, 99)))
        .choice([0.0, 1.0, -np.inf, 88.0, 1000.0], shape(draw))
        .astype("f4")
    )
    made = node("ReduceLogSumExp", "x a", keepdims=draw(st.integers(0, 1)))
    return {
        "node": made,
        "arrays": {"x": x, "a": np.array([draw(st.integers(-x.ndim, x.ndim - 1))])},
        "fixed": "a",
    }


def normalization(draw: Draw) -> Fields:
    kinds = ["BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization",
             "RMSNormalization", "LRN", "MeanVarianceNormalization"]  # fmt: skip
    kind, epsilon = draw(st.sampled_from(kinds)), draw(st.sampled_from([1e-5, 1e-2]))
    x = numbers(draw, (draw(st.integers(1, 3)), 4, *shape(draw, 1, 3)))
    if kind == "LRN":
        return {
            "node": node(kind, "x", size=draw(st.sampled_from([1, 3, 5])), alpha=0.3, beta=0.6, bias=1.5),
            "arrays": {"x": x},
        }
    if kind == "MeanVarianceNormalization":
        x = numbers(draw, [n + 3 for n in shape(draw, 4, 4)])  # the epsilon of both is 1e-9
        return {
            "node": node(kind, "x", axes=draw(st.sampled_from([[0, 2, 3], [2, 3]]))),
            "arrays": {"x": x},
            "opset": 18,
        }
    if kind in ("LayerNormalization", "RMSNormalization"):
        at = draw(st.integers(-x.ndim, x.ndim - 1))
        arrays = {"x": x, "s": numbers(draw, x.shape[at:])}
        if kind == "LayerNormalization" and draw(st.booleans()):
            arrays["b"] = numbers(draw, x.shape[at:])
        made = node(kind, " ".join(arrays), axis=at, epsilon=epsilon)
        return {"node": made, "arrays": arrays, "opset": 23 if kind[0] == "R" else 21}
    vectors = {n: numbers(draw, (4,)) for n in "sb"}
    if kind == "BatchNormalization":
        x = numbers(draw, (draw(st.integers(1, 3)), 4, *shape(draw, 0, 3)))
        vectors |= {"m": numbers(draw, (4,)), "v": np.abs(numbers(draw, (4,)))}
    extra = {"num_groups": draw(st.sampled_from([1, 2, 4]))} if kind[0] == "G" else {}
    made = node(kind, " ".join(["x", *vectors]), epsilon=epsilon, **extra)
    return {"node": made, "arrays": {"x": x, **vectors}, "fixed": list(vectors)}


def resize(draw: Draw) -> Fields:
    rank = draw(st.integers(1, 2))
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"] if rank == 2 else ["nearest", "linear"]))
    modes = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
    attributes: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": draw(st.sampled_from(modes)),
    }
    if mode == "nearest":
        attributes["nearest_mode"] = draw(
            st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
        )
    if mode == "cubic":
        attributes |= {
            "cubic_coeff_a": draw(st.sampled_from([-0.75, -0.5])),
            "exclude_outside": draw(st.integers(0, 1)),
        }
    x = image(draw, 2, rank, 2, 6)
    if mode == "nearest" and draw(st.integers(0, 3)) == 0:
        x = np.round(x * 9).astype("i1")
    if draw(st.booleans()):
        attributes["axes"] = list(range(2, 2 + rank))
        sizes = np.array([draw(st.integers(1, 9)) for _ in range(rank)])
        return {"node": node("Resize", "x   z", **attributes), "arrays": {"x": x, "z": sizes}, "fixed": "z"}
    # Where the new size is no whole number, ONNX puts the corners elsewhere than ONNX Runtime does.
    assume(attributes["coordinate_transformation_mode"] != "align_corners")
    factors = [1, 1, *(draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 0.75])) for _ in range(rank))]
    return {
        "node": node("Resize", "x  f", **attributes),
        "arrays": {"x": x, "f": np.array(factors, "f4")},
        "fixed": "f",
    }


def grid_sample(draw: Draw) -> Fields:
    """Places in the image, at its border, and outside."""
    x = image(draw, 2, 2, 1, 5)
    places = (x.shape[0], draw(st.integers(1, 3)), draw(st.integers(1, 3)), 2)
    random = np.random.default_rng(draw(st.integers(0, 999)))
    grid = random.uniform(-2.5, 2.5, places).astype("f4")
    made = node("GridSample", "x g", mode=draw(st.sampled_from(["nearest", "linear", "cubic"])),
                padding_mode=draw(st.sampled_from(["zeros", "border", "reflection"])),
                align_corners=draw(st.integers(0, 1)))  # fmt: skip
    return {"node": made, "arrays": {"x": x, "g": grid}}


TAKERS = {"Elu": 0, "LeakyRelu": 0, "ThresholdedRelu": 0, "HardSigmoid": 1, "Affine": 1, "ScaledTanh": 1}
"""Functions that take an alpha, and how many betas."""
FUNCTIONS = ("Sigmoid", "Tanh", "Relu", "Softsign", "Softplus", *TAKERS)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(draw: Draw) -> Fields:
    kind, direction = (
        draw(st.sampled_from(list(GATES))),
        draw(st.sampled_from(["forward", "reverse", "bidirectional"])),
    )
    steps, batch, size, hidden = (draw(st.integers(1, n)) for n in (4, 3, 3, 4))
    sides, rows = 2 if direction == "bidirectional" else 1, GATES[kind] * hidden
    attributes: dict[str, Any] = {"direction": direction, "hidden_size": hidden}
    arrays: dict[str, Any] = {
        "x": numbers(draw, (steps, batch, size)), "w": numbers(draw, (sides, rows, size)),
        "r": numbers(draw, (sides, rows, hidden)), "b": numbers(draw, (sides, 2 * rows)),
        "n": np.random.default_rng(draw(st.integers(0, 99))).integers(1, steps + 1, batch).astype("i4"),
        "h": numbers(draw, (sides, batch, hidden)),
    }  # fmt: skip
    if kind == "LSTM":
        arrays |= {"c": numbers(draw, (sides, batch, hidden)), "p": numbers(draw, (sides, 3 * hidden))}
    optional = [n for n in arrays if n in "bnhcp"]
    for name in optional:
        if draw(st.booleans()):
            del arrays[name]
    if kind == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if draw(st.booleans()):
        attributes["clip"] = 0.7
    if draw(st.integers(0, 2)) == 0:
        count = {"LSTM": 3, "GRU": 2, "RNN": 1}[kind] * sides
        attributes["activations"] = [draw(st.sampled_from(FUNCTIONS)) for _ in range(count)]
        if draw(st.booleans()) or {"Affine", "ScaledTanh"} & {*attributes["activations"]}:
            takers = [f for f in attributes["activations"] if f in TAKERS]
            betas = [0.4, 0.6, 0.2, 0.5, 0.3, 0.7][: sum(TAKERS[f] for f in takers)]
            alphas = [draw(st.sampled_from([0.3, 0.9, 1.5])) for _ in takers]
            attributes |= {"activation_alpha": alphas} if alphas else {}
            attributes |= {"activation_beta": betas} if betas else {}
    names = "x w r b n h c p" if kind == "LSTM" else "x w r b n h"
    inputs = " ".join(n if n in arrays else "" for n in names.split())
    made = node(kind, inputs, "y last cell" if kind == "LSTM" else "y last", **attributes)
    return {
        "node": made,
        "arrays": arrays,
        "fixed": [n for n in "wrbp" if n in arrays],
        "computed": "n" if draw(st.booleans()) else "",
    }


FAMILIES = [
    transposed, convolution, pool, whole_pool, product, gemm, reduction, logarithm_of_sums, normalization,
    resize, grid_sample, recurrent,
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES, ids=[f.__name__ for f in FAMILIES])
def test_windows(any_case: Any, family: Callable[[Draw], Fields]) -> None:
    any_case(family)
