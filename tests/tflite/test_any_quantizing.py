"""QuantizeLinear and DequantizeLinear: any types, one scale for all, for each slice or each block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from onnx import helper

Draw = Callable[[Any], Any]
Fields = dict[str, Any]
TYPES = ("int8", "uint8", "int16", "uint16")


def shape(draw: Draw) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))


def grids(draw: Draw, dims: tuple[int, ...], dtype: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scales, zero points or none, and attributes."""
    random = np.random.default_rng(draw(st.integers(0, 999)))
    axis = draw(st.integers(-len(dims), len(dims) - 1))
    attributes: dict[str, Any] = {"axis": axis}
    size: tuple[int, ...] = ()
    how = draw(st.sampled_from(["all", "one", "slices", "blocks"]))
    if how == "one":
        size = (1,)
    elif how == "slices":
        size = (dims[axis],)
    elif how == "blocks":
        attributes["block_size"] = block = draw(st.integers(1, dims[axis]))
        size = tuple(-(-n // block) if i == axis % len(dims) else n for i, n in enumerate(dims))
    # Powers of two: no quotient is a tie in one arithmetic and beside it in another.
    arrays: dict[str, Any] = {"s": 2.0 ** random.integers(-3, 2, size).astype("f4")}
    if draw(st.booleans()):
        arrays["z"] = random.integers(0, 100, size).astype(dtype)
    return arrays, attributes


def quantizing(draw: Draw) -> Fields:
    dims, dtype = shape(draw), draw(st.sampled_from(TYPES))
    arrays, attributes = grids(draw, dims, dtype)
    if "z" not in arrays:
        attributes["output_dtype"] = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    size = 40 if dtype[-1] == "8" else 9000  # many are limited
    x = np.round(random.normal(size=dims) * size * 8) / 8
    x = x + (1 / 32 if dtype == "int16" else 0)  # LiteRT's kernel of 16 bits rounds halves away from zero
    made = helper.make_node("QuantizeLinear", ["x", *arrays], ["y"], **attributes)
    return {"node": made, "arrays": {"x": x.astype("f4"), **arrays}, "fixed": [*arrays]}


def dequantizing(draw: Draw) -> Fields:
    dims, dtype = shape(draw), draw(st.sampled_from((*TYPES, "int32")))
    arrays, attributes = grids(draw, dims, dtype)
    if dtype == "int32":
        arrays.pop("z", None)
    limits = np.iinfo(dtype if dtype != "int32" else "int16")
    random = np.random.default_rng(draw(st.integers(0, 999)))
    x = random.integers(limits.min, limits.max, dims, endpoint=True).astype(dtype)
    made = helper.make_node("DequantizeLinear", ["x", *arrays], ["y"], **attributes)
    return {"node": made, "arrays": {"x": x, **arrays}, "fixed": [*arrays]}


def dynamically(draw: Draw) -> Fields:
    random, low = np.random.default_rng(draw(st.integers(0, 999))), draw(st.sampled_from([-9, 0, 3]))
    x = random.integers(low, draw(st.sampled_from([low, 9])), shape(draw), endpoint=True).astype("f4")
    return {"node": helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"]), "arrays": {"x": x}}


FAMILIES = [quantizing, dequantizing, dynamically]


@pytest.mark.parametrize("family", FAMILIES, ids=[f.__name__ for f in FAMILIES])
def test_quantizing(any_case: Any, family: Callable[[Draw], Fields]) -> None:
    any_case(family)
