"""Operators that move, pick, write and sort elements: any shapes, types, axes and indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from onnx import helper

Draw = Callable[[Any], Any]
Fields = dict[str, Any]
TYPES = ("float32", "int32", "int64", "int8", "uint8", "bool")


def shape(draw: Draw, low: int = 1, high: int = 5, most: int = 4) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(1, most), min_size=low, max_size=high)))


def whole(draw: Draw, low: int, high: int, dims: Sequence[int], dtype: str = "int64") -> Any:
    random = np.random.default_rng(draw(st.integers(0, 999)))
    return random.integers(low, high, dims).astype(dtype)


def numbers(draw: Draw, dims: Sequence[int], types: Sequence[str] = TYPES) -> Any:
    """Few different ones, so that many are equal."""
    dtype = draw(st.sampled_from(types))
    low, high = (0, 2) if dtype == "bool" else (0 if dtype[0] == "u" else -3, 4)
    return whole(draw, low, high, dims, dtype)


def axis(draw: Draw, rank: int) -> int:
    return int(draw(st.integers(-rank, rank - 1)))


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(" "), outputs.split(" "), **attributes)


def vector(values: Sequence[int]) -> Any:
    return np.array(values, "i8")


def gather(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw))
    at = axis(draw, x.ndim)
    n = x.shape[at]
    indices = whole(draw, -n, n, shape(draw, 0, 2), draw(st.sampled_from(["int32", "int64"])))
    return {"node": node("Gather", "x i", axis=at), "arrays": {"x": x, "i": indices}}


def gather_elements(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw))
    at = axis(draw, x.ndim)
    own = [
        draw(st.integers(1, 4)) if i == at % x.ndim else draw(st.integers(1, n))
        for i, n in enumerate(x.shape)
    ]
    indices = whole(draw, -x.shape[at], x.shape[at], own)
    return {"node": node("GatherElements", "x i", axis=at), "arrays": {"x": x, "i": indices}}


def gather_nd(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw))
    batch = draw(st.integers(0, x.ndim - 1))
    depth = draw(st.integers(1, x.ndim - batch))
    rows = (*x.shape[:batch], *shape(draw, 0 if batch else 1, 2))
    sizes = x.shape[batch : batch + depth]
    columns = [whole(draw, -n, n, rows) for n in sizes]
    return {"node": node("GatherND", "x i", batch_dims=batch), "arrays": {"x": x, "i": np.stack(columns, -1)}}


def scatter_nd(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw), ("float32", "int32", "int64"))
    how = draw(st.sampled_from(["none", "add", "mul", "max", "min"]))
    depth = draw(st.integers(1, x.ndim))
    places = whole(draw, 0, int(np.prod(x.shape[:depth])), draw(st.integers(1, 4)))
    places = np.unique(places) if how == "none" else places
    indices = np.stack(np.unravel_index(places, x.shape[:depth]), -1)
    indices = np.where(whole(draw, 0, 2, indices.shape) == 1, indices, indices - np.array(x.shape[:depth]))
    updates = whole(draw, -3, 4, (len(places), *x.shape[depth:]), str(x.dtype))
    return {"node": node("ScatterND", "x i u", reduction=how), "arrays": {"x": x, "i": indices, "u": updates}}


def scatter_elements(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw), ("float32", "int32", "int64"))
    at, how = axis(draw, x.ndim), draw(st.sampled_from(["none", "add", "mul", "max", "min"]))
    own = [draw(st.integers(1, n)) for n in x.shape]
    if how != "none":
        own[at] = draw(st.integers(1, 4))
    indices = whole(draw, -x.shape[at], x.shape[at], own)
    if how == "none":
        full = list(own)
        full[at] = x.shape[at]
        indices = np.argsort(whole(draw, 0, 99, full), at, kind="stable").take(range(own[at]), at)
    arrays = {"x": x, "i": indices, "u": whole(draw, -3, 4, own, str(x.dtype))}
    return {"node": node("ScatterElements", "x i u", axis=at, reduction=how), "arrays": arrays}


def slices(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw, 1, 6))
    at = draw(st.lists(st.integers(0, x.ndim - 1), unique=True, min_size=1, max_size=x.ndim))
    step = [draw(st.sampled_from([-3, -2, -1, 1, 2, 3])) for _ in at]
    starts = [draw(st.integers(0, x.shape[a] - 1)) for a in at]
    ends = [
        draw(st.sampled_from([s + 1, 99, x.shape[a]] if d > 0 else [s - 1 - x.shape[a], -99]))
        for s, d, a in zip(starts, step, at, strict=True)
    ]
    ends = [e if d > 0 or s > 0 else -99 for s, d, e in zip(starts, step, ends, strict=True)]
    ends = [max(e, s + 1) if d > 0 else e for s, d, e in zip(starts, step, ends, strict=True)]
    axes = [a - x.ndim if draw(st.booleans()) else a for a in at]
    arrays = {"x": x, "s": vector(starts), "e": vector(ends), "a": vector(axes), "d": vector(step)}
    return {"node": node("Slice", "x s e a d"), "arrays": arrays, "fixed": "sead"}


def padding(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw), ("float32", "int32", "int64", "int8", "uint8"))
    mode = draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    axes = draw(st.lists(st.integers(0, x.ndim - 1), unique=True, min_size=1, max_size=x.ndim))
    sizes = [x.shape[a] for a in axes] * 2
    high = {"constant": 3, "edge": 3}.get(mode)
    pads = [draw(st.integers(0, high if high is not None else n - (mode == "reflect"))) for n in sizes]
    arrays = {
        "x": x,
        "p": vector(pads),
        "v": np.array(draw(st.integers(0, 3))).astype(x.dtype),
        "a": vector(axes),
    }
    return {"node": node("Pad", "x p v a", mode=mode), "arrays": arrays, "fixed": "pva"}


def joining(draw: Draw) -> Fields:
    x, count = numbers(draw, shape(draw)), draw(st.integers(1, 4))
    at = axis(draw, x.ndim)
    arrays = {"x": x}
    for name in "abc"[: count - 1]:
        own = list(x.shape)
        own[at] = draw(st.integers(1, 3))
        arrays[name] = whole(draw, 0, 2, own, str(x.dtype))
    return {"node": node("Concat", " ".join(arrays), axis=at), "arrays": arrays}


def splitting(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw, most=6))
    at = axis(draw, x.ndim)
    n = x.shape[at]
    if draw(st.booleans()):
        cuts = sorted({n, *draw(st.lists(st.integers(1, n), max_size=3))})
        parts = np.diff([0, *cuts]).tolist()
        made = node("Split", "x p", " ".join(f"y{i}" for i in range(len(parts))), axis=at)
        return {"node": made, "arrays": {"x": x, "p": vector(parts)}, "fixed": "p"}
    parts = draw(st.integers(1, n))
    each = -(-n // parts)
    parts = -(-n // each)
    made = node("Split", "x", " ".join(f"y{i}" for i in range(parts)), axis=at, num_outputs=parts)
    return {"node": made, "arrays": {"x": x}}


def reshaping(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw, 0, 5))
    kind = draw(
        st.sampled_from(["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Tile", "Transpose"])
    )
    if kind == "Transpose" and x.ndim:
        return {"node": node(kind, "x", perm=draw(st.permutations(range(x.ndim)))), "arrays": {"x": x}}
    if kind == "Flatten":
        x = x.reshape(-1, 1) if x.ndim == 0 else x
        return {"node": node(kind, "x", axis=draw(st.integers(-x.ndim, x.ndim))), "arrays": {"x": x}}
    if kind == "Reshape":
        wanted = [*x.shape, 1]
        wanted[draw(st.integers(0, x.ndim))] = -1
        second = vector(wanted)
    elif kind == "Squeeze":
        second = vector([i - x.ndim * draw(st.integers(0, 1)) for i, n in enumerate(x.shape) if n == 1])
        if not second.size:
            return {"node": node(kind, "x"), "arrays": {"x": x}}
    elif kind == "Unsqueeze":
        second = vector(draw(st.lists(st.integers(0, x.ndim), unique=True, min_size=1, max_size=1)))
    elif kind == "Expand":
        wide = [n if n > 1 else draw(st.integers(1, 3)) for n in x.shape]
        second = vector([draw(st.integers(1, 3)), *wide][draw(st.integers(0, 1)) :] or [2])
    else:
        kind, second = "Tile", vector([draw(st.integers(1, 3)) for _ in x.shape])
        if not second.size:
            return {"node": node("Identity", "x"), "arrays": {"x": x}}
    return {"node": node(kind, "x s"), "arrays": {"x": x, "s": second}, "fixed": "s"}


def blocks(draw: Draw) -> Fields:
    n, c, h, w, b = (draw(st.integers(1, 3)) for _ in range(5))
    if draw(st.booleans()):
        x = numbers(draw, (n, c * b * b, h, w), ("float32", "int32", "int64"))
        mode = draw(st.sampled_from(["DCR", "CRD"]))
        return {"node": node("DepthToSpace", "x", blocksize=b, mode=mode), "arrays": {"x": x}}
    x = numbers(draw, (n, c, h * b, w * b), ("float32",))
    return {"node": node("SpaceToDepth", "x", blocksize=b), "arrays": {"x": x}}


def running_sum(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw, 1, 6), ("float32", "int32", "int64"))
    options = {"exclusive": draw(st.integers(0, 1)), "reverse": draw(st.integers(0, 1))}
    at = np.array(axis(draw, x.ndim), draw(st.sampled_from(["i4", "i8"])))
    return {"node": node("CumSum", "x a", **options), "arrays": {"x": x, "a": at}, "fixed": "a"}


def best(draw: Draw) -> Fields:
    """The index of the best of several equal ones."""
    x = numbers(draw, shape(draw), ("float32", "int32", "int8", "uint8", "int64"))
    kind = draw(st.sampled_from(["ArgMax", "ArgMin"]))
    made = node(kind, "x", axis=axis(draw, x.ndim), keepdims=draw(st.integers(0, 1)),
                select_last_index=draw(st.integers(0, 1)))  # fmt: skip
    return {"node": made, "arrays": {"x": x}, "refusals": ["type int64"]}


def top(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw), ("float32", "int32", "int64", "uint8"))
    at, largest = axis(draw, x.ndim), draw(st.integers(0, 1))
    made = node("TopK", "x k", "v i", axis=at, largest=largest)
    return {"node": made, "arrays": {"x": x, "k": vector([draw(st.integers(1, x.shape[at]))])}, "fixed": "k",
            "refusals": ["type int64"]}  # fmt: skip


def one_hot(draw: Draw) -> Fields:
    depth, own = draw(st.integers(1, 5)), [("int64", "int64"), ("int64", "float32"), ("int32", "float32")]
    kind, dtype = draw(st.sampled_from(own))  # what ONNX Runtime has kernels for
    indices = whole(draw, -depth, depth, shape(draw, 1, 3), kind)
    made = node("OneHot", "i d v", axis=axis(draw, indices.ndim + 1))
    arrays = {"i": indices, "d": np.array(depth, kind), "v": np.array([0, 3], dtype)}
    return {"node": made, "arrays": arrays, "fixed": "dv"}


def triangle(draw: Draw) -> Fields:
    x = numbers(draw, shape(draw, 2), ("float32", "int32", "int64", "bool"))
    made = node("Trilu", "x k", upper=draw(st.integers(0, 1)))
    return {"node": made, "arrays": {"x": x, "k": np.array(draw(st.integers(-3, 3)))}, "fixed": "k"}


def backwards(draw: Draw) -> Fields:
    time, batch = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    first = draw(st.integers(0, 1))
    x = numbers(
        draw, ((batch, time) if first else (time, batch)) + shape(draw, 0, 2), ("float32", "int32", "int64")
    )
    made = node("ReverseSequence", "x n", batch_axis=0 if first else 1, time_axis=1 if first else 0)
    return {"node": made, "arrays": {"x": x, "n": whole(draw, 1, time + 1, (batch,))}}


def einsum(draw: Draw) -> Fields:
    letters = draw(st.permutations("abcdij"))
    one = letters[: draw(st.integers(1, 4))]
    two = draw(st.permutations(letters))[: draw(st.integers(1, 4))]
    sizes = {c: draw(st.integers(1, 4)) for c in letters}
    both = sorted(set(one) | set(two))
    out = draw(st.permutations(both))[: draw(st.integers(0, len(both)))]
    arrays = {
        n: whole(draw, -9, 9, [sizes[c] for c in term]).astype("f4") for n, term in (("p", one), ("q", two))
    }
    equation = f"{''.join(one)},{''.join(two)}->{''.join(out)}"
    return {"node": node("Einsum", "p q", equation=equation), "arrays": arrays}


FAMILIES = [
    gather, gather_elements, gather_nd, scatter_nd, scatter_elements, slices, padding, joining, splitting,
    reshaping, blocks, running_sum, best, top, one_hot, triangle, backwards, einsum,
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES, ids=[f.__name__ for f in FAMILIES])
def test_moving(any_case: Any, family: Callable[[Draw], Fields]) -> None:
    any_case(family)
