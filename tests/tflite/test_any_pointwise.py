"""Operators that work element by element: any shapes, types and numbers, infinities among them."""

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
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, 3.0, -3.0, 6.0, 50.0, -50.0)
EXTREME = (np.inf, -np.inf, 1e5, -1e5, 1e-30)
NARROW = ("int8", "uint8", "int16", "uint16")
WIDE = ("float32", "int32", "int64")


def shape(draw: Draw, low: int = 0, high: int = 5) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(1, 3), min_size=low, max_size=high)))


def fewer(draw: Draw, dims: Sequence[int]) -> tuple[int, ...]:
    """A shape that broadcasts to ``dims``."""
    return tuple(n if draw(st.booleans()) else 1 for n in dims)[draw(st.integers(0, len(dims))) :]


def floats(draw: Draw, dims: Sequence[int], extreme: bool = True) -> Any:
    random = np.random.default_rng(draw(st.integers(0, 999)))
    normal = random.normal(size=dims) * 3
    special = random.choice(SPECIAL + EXTREME * extreme, size=dims)
    return np.where(random.random(dims) < 0.6, normal, special).astype("f4")


def whole(draw: Draw, dims: Sequence[int], dtype: str, low: int = -100, high: int = 100) -> Any:
    random = np.random.default_rng(draw(st.integers(0, 999)))
    return random.integers(0 if dtype[0] == "u" else low, high, dims, "int64").astype(dtype)


def numbers(draw: Draw, dims: Sequence[int], dtype: str, extreme: bool = True) -> Any:
    if dtype == "float32":
        return floats(draw, dims, extreme)
    return whole(draw, dims, dtype, 0, 2) if dtype == "bool" else whole(draw, dims, dtype)


def two(draw: Draw, types: Sequence[str], extreme: bool = True) -> tuple[Any, Any]:
    dtype, dims = draw(st.sampled_from(types)), shape(draw)
    made = [numbers(draw, dims, dtype, extreme), numbers(draw, fewer(draw, dims), dtype, extreme)]
    if draw(st.booleans()):
        made.reverse()
    return made[0], made[1]


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(" "), outputs.split(" "), **attributes)


def arithmetic(draw: Draw) -> Fields:
    kind = draw(st.sampled_from(["Add", "Sub", "Mul"]))
    a, b = two(draw, WIDE)
    return {"node": node(kind, "a b"), "arrays": {"a": a, "b": b}}


def large_integers(draw: Draw) -> Fields:
    """Beyond 32 bits, and sums that wrap."""
    dims, kind = shape(draw), draw(st.sampled_from(["Add", "Sub", "Mul", "Max", "Min", "Less", "Equal"]))
    dtype = draw(st.sampled_from(["int64", "int32"]))
    limits = np.iinfo(dtype)
    low, high = (limits.min, limits.max) if kind in ("Max", "Min", "Less", "Equal") else (-(1 << 15), 1 << 15)
    if dtype == "int64" and kind in ("Add", "Sub"):
        low, high = -(1 << 60), 1 << 60
    a, b = (whole(draw, d, dtype, low, high) for d in (dims, fewer(draw, dims)))
    return {"node": node(kind, "a b"), "arrays": {"a": a, "b": b}}


def extremes(draw: Draw) -> Fields:
    kind, dtype = draw(st.sampled_from(["Max", "Min"])), draw(st.sampled_from([*WIDE, *NARROW, "uint32"]))
    dims, count = shape(draw), draw(st.integers(1, 3))
    arrays = {n: numbers(draw, fewer(draw, dims), dtype) for n in "abc"[:count]}
    return {"node": node(kind, " ".join(arrays)), "arrays": arrays}


def several(draw: Draw) -> Fields:
    dims, count = shape(draw), draw(st.integers(1, 3))
    arrays = {n: floats(draw, fewer(draw, dims), False) for n in "abc"[:count]}
    return {"node": node(draw(st.sampled_from(["Sum", "Mean"])), " ".join(arrays)), "arrays": arrays}


def division(draw: Draw) -> Fields:
    a, b = two(draw, ["float32", "int32", "int64", "int8", "uint8"])
    b = np.where(b == 0, 3, b).astype(b.dtype) if b.dtype.kind != "f" else b
    refusals = ["type int64, of numbers that may need more"]
    return {"node": node("Div", "a b"), "arrays": {"a": a, "b": b}, "refusals": refusals}


def remainder(draw: Draw) -> Fields:
    fmod = draw(st.integers(0, 1))
    a, b = two(draw, [*(["float32"] if fmod else []), "int32", "int64", "int8", "uint8"], extreme=False)
    b = np.where(b == 0, 3, b).astype(b.dtype)
    return {"node": node("Mod", "a b", fmod=fmod), "arrays": {"a": a, "b": b}}


def power(draw: Draw) -> Fields:
    base = floats(draw, shape(draw), False)
    if draw(st.booleans()):
        exponent = np.float32(draw(st.sampled_from([0, 1, 2, 3, 4, -1, -2, 0.5, -0.5, 1 / 3, 2.5])))
    else:
        exponent = floats(draw, fewer(draw, base.shape), False)
    with np.errstate(all="ignore"):
        beyond = np.isinf(base**exponent) & np.isfinite(base) & (base != 0)
    # There LiteRT's kernel of one exponent gives the largest number, as docs/operators.md says.
    assume(np.size(exponent) > 1 or not beyond.any())
    return {"node": node("Pow", "a b"), "arrays": {"a": base, "b": exponent}}


def power_of_integers(draw: Draw) -> Fields:
    """No kernel computes powers of 64-bit integers, and float32 does not hold those of 32-bit ones."""
    dims = shape(draw)
    a = whole(draw, dims, draw(st.sampled_from(["int32", "int64", "float32"])), -5, 6)
    b = whole(draw, fewer(draw, dims), draw(st.sampled_from(["int32", "int64", "float32"])), 0, 4)
    refusals = ["type int32 (float32", "type int64 (float32", "type int64"]
    return {"node": node("Pow", "a b"), "arrays": {"a": a, "b": b}, "refusals": refusals}


def not_a_number(draw: Draw) -> Fields:
    """What comparisons say of it; other kernels may take it for some number."""
    kind = draw(st.sampled_from(["IsNaN", "Equal", "Greater", "Less", "LessOrEqual", "Relu", "Neg", "Add"]))
    dims = shape(draw)
    a, b = (
        np.where(whole(draw, dims, "int32", 0, 3) == 0, np.float32(np.nan), floats(draw, dims)) for _ in "ab"
    )
    arrays = {"a": a, "b": b} if kind not in ("IsNaN", "Relu", "Neg") else {"a": a}
    return {"node": node(kind, " ".join(arrays)), "arrays": arrays}


def comparison(draw: Draw) -> Fields:
    kind = draw(st.sampled_from(["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]))
    types = [*WIDE, *NARROW, "uint32", *(["bool"] if kind == "Equal" else [])]
    a, b = two(draw, types)
    if draw(st.booleans()) and a.shape:
        b = a.copy()
    return {"node": node(kind, "a b"), "arrays": {"a": a, "b": b}}


def logic(draw: Draw) -> Fields:
    a, b = two(draw, ["bool"])
    kind = draw(st.sampled_from(["And", "Or", "Xor", "Not"]))
    if kind == "Not":
        return {"node": node(kind, "a"), "arrays": {"a": a}}
    return {"node": node(kind, "a b"), "arrays": {"a": a, "b": b}}


def bits(draw: Draw) -> Fields:
    kind = draw(st.sampled_from(["BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"]))
    dims, dtype = shape(draw), draw(st.sampled_from(["int32", "int64", *NARROW, "uint32"]))
    limits = np.iinfo(dtype)
    a, b = (whole(draw, d, dtype, limits.min, limits.max) for d in (dims, fewer(draw, dims)))
    arrays = {"a": a} if kind == "BitwiseNot" else {"a": a, "b": b}
    return {"node": node(kind, " ".join(arrays)), "arrays": arrays, "refusals": ["type int64 (up to 32 bits"]}


def shift(draw: Draw) -> Fields:
    dims, dtype = shape(draw), draw(st.sampled_from(["uint8", "uint16", "uint32"]))
    a, b = whole(draw, dims, dtype, high=np.iinfo(dtype).max), whole(draw, fewer(draw, dims), dtype, high=8)
    direction = draw(st.sampled_from(["LEFT", "RIGHT"]))
    return {"node": node("BitShift", "a b", direction=direction), "arrays": {"a": a, "b": b}}


def choice(draw: Draw) -> Fields:
    dims = shape(draw)
    a, b = two(draw, [*WIDE, *NARROW, "bool"])
    dims = np.broadcast_shapes(a.shape, b.shape)
    arrays = {"c": numbers(draw, fewer(draw, dims), "bool"), "a": a, "b": b}
    return {"node": node("Where", "c a b"), "arrays": arrays}


PLAIN = (
    "Relu", "Sigmoid", "HardSwish", "Mish", "Softplus", "Softsign", "Tanh", "Erf", "Exp", "Abs", "Sign",
    "Neg", "Floor", "Ceil", "Round", "Sin", "Cos", "Reciprocal", "IsInf", "Identity", "Atan", "Asinh",
)  # fmt: skip


def function(draw: Draw) -> Fields:
    kind, x = draw(st.sampled_from(PLAIN)), floats(draw, shape(draw, 0, 6))
    if kind in ("Sin", "Cos", "Asinh"):
        x = np.clip(np.nan_to_num(x), -1000, 1000).astype("f4")
    attributes: dict[str, Any] = {}
    if kind == "IsInf":
        attributes = {"detect_negative": draw(st.integers(0, 1)), "detect_positive": draw(st.integers(0, 1))}
    return {"node": node(kind, "x", **attributes), "arrays": {"x": x}}


def of_many_dimensions(draw: Draw) -> Fields:
    """Up to seven, broadcast along runs of them."""
    dims = tuple(draw(st.integers(1, 2)) for _ in range(draw(st.integers(5, 7))))
    kind = draw(st.sampled_from(["Add", "Mul", "Max", "Less", "Where"]))
    a, b = floats(draw, fewer(draw, dims), False), floats(draw, fewer(draw, dims), False)
    arrays = {"a": a, "b": b}
    if kind == "Where":
        arrays = {"c": whole(draw, fewer(draw, dims), "bool", 0, 2), **arrays}
    return {"node": node(kind, " ".join(arrays)), "arrays": arrays, "refusals": ["broadcasts"]}


def sign_of_integers(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw), draw(st.sampled_from(["int32", "int64", "int8", "int16"])))
    return {"node": node(draw(st.sampled_from(["Abs", "Sign", "Neg", "Relu"])), "x"), "arrays": {"x": x}}


def partial_function(draw: Draw) -> Fields:
    """Defined for some numbers only, or large beyond them."""
    kind = draw(st.sampled_from(["Log", "Sqrt", "Tan", "Asin", "Acos", "Acosh", "Atanh", "Sinh", "Cosh"]))
    x = np.abs(floats(draw, shape(draw, 0, 6), False)) % 10
    x = {"Acosh": 1 + x, "Asin": x / 10, "Acos": x / 10, "Atanh": x / 10.1, "Tan": x / 10}.get(kind, x)
    return {"node": node(kind, "x"), "arrays": {"x": x.astype("f4")}}


ACTIVATIONS = (
    "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "ThresholdedRelu", "Shrink", "Gelu", "Swish",
)  # fmt: skip


def activation(draw: Draw) -> Fields:
    kind = draw(st.sampled_from(ACTIVATIONS))
    alpha = draw(st.sampled_from([0.01, 0.2, 1.0, 1.5, 1 / 6]))
    more = {"Selu": {"gamma": 1.5}, "HardSigmoid": {"beta": 0.4}, "Shrink": {"bias": 0.3, "lambd": 0.7},
              "Gelu": {"approximate": draw(st.sampled_from(["none", "tanh"]))}}  # fmt: skip
    attributes: dict[str, Any] = dict(more.get(kind, {}))
    if kind not in ("Shrink", "Gelu") and draw(st.booleans()):
        attributes["alpha"] = alpha
    x = floats(draw, shape(draw, 0, 6))
    fields = {
        "node": node(kind, "x", **attributes),
        "arrays": {"x": x},
        "opset": 24 if kind == "Swish" else 21,
    }
    return fields | ({"least": 9.0} if kind == "Gelu" else {})  # x * (1 + erf(x)) / 2 cancels up to there


def slope(draw: Draw) -> Fields:
    x = floats(draw, shape(draw, 1, 5), False)
    return {"node": node("PRelu", "x s"), "arrays": {"x": x, "s": floats(draw, fewer(draw, x.shape), False)}}


def limits(draw: Draw) -> Fields:
    dtype = draw(st.sampled_from(["float32", "int32", "int64", "int8", "uint8"]))
    x = numbers(draw, shape(draw), dtype, extreme=False)
    low, high = draw(st.sampled_from([(0, 6), (0, 1), (-1, 1), (-3, 4), (5, 2), (3, 100)]))
    sides = draw(st.sampled_from(["low high", " high", "low", "low high"]))
    arrays = {"x": x, "low": np.array(low).astype(x.dtype), "high": np.array(high).astype(x.dtype)}
    kept = {n: a for n, a in arrays.items() if n in ("x", *sides.split(" "))}
    return {"node": node("Clip", f"x {sides}"), "arrays": kept}


TYPES = (
    "float32",
    "float16",
    "float64",
    "int32",
    "int64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "uint32",
    "bool",
)


def types(draw: Draw) -> Fields:
    source, target = draw(st.sampled_from(TYPES)), draw(st.sampled_from(TYPES))
    x = (
        floats(draw, shape(draw, 0, 6), False)
        if "float" in source
        else numbers(draw, shape(draw, 0, 6), source)
    )
    # A number that the type does not hold becomes whatever the processor makes of it.
    x = np.abs(x) if target[0] == "u" and source != "bool" else x
    to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
    return {"node": node("Cast", "x", to=to), "arrays": {"x": x.astype(source)}, "refusals": ["type float64"]}


def normal_over(draw: Draw) -> Fields:
    dims = shape(draw, 1, 5)
    kind = draw(st.sampled_from(["Softmax", "LogSoftmax", "Hardmax", "LpNormalization"]))
    attributes: dict[str, Any] = {"axis": draw(st.integers(-len(dims), len(dims) - 1))}
    if kind == "LpNormalization":
        attributes["p"] = draw(st.integers(1, 2))
    x = floats(draw, dims, False)
    return {"node": node(kind, "x", **attributes), "arrays": {"x": x}}


FAMILIES = [
    arithmetic, large_integers, extremes, several, division, remainder, not_a_number, power,
    power_of_integers, comparison, logic, bits, shift, choice, function, sign_of_integers,
    partial_function, activation, slope, limits, types, normal_over,
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES, ids=[f.__name__ for f in FAMILIES])
def test_elementwise(any_case: Any, family: Callable[[Draw], Fields]) -> None:
    any_case(family)
