"""What the file holds beside the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecut.targets.tflite import lir, pack
from edgecut.targets.tflite.lir import Quant


def _sized(channels: int, zeros: list[int]) -> int:
    """Bytes of a file of additions with a constant, each on scales of its own per channel."""
    rng = np.random.default_rng(0)
    x = lir.Tensor((channels,), np.dtype(np.float32))
    out = x
    for zero in zeros:
        scale = rng.uniform(0.1, 1, channels).astype(np.float32)
        grid = Quant(scale, np.full(channels, zero, np.int64))
        data = rng.integers(-128, 128, channels).astype(np.int8)
        constant = lir.Tensor(data.shape, data.dtype, data=data, quant=grid)
        (real,) = lir.emit("DEQUANTIZE", [constant], [(channels,)], [np.dtype(np.float32)], frozenset(), {})
        (out,) = lir.emit("ADD", [out, real], [(channels,)], [np.dtype(np.float32)], frozenset(), {})
    return len(pack.pack([pack.Signature("s", {"x": x}, {"y": out})], {}, {}))


def test_equal_zero_points_are_written_once() -> None:
    channels = 1000
    one, same, other = (_sized(channels, zeros) for zeros in ([0], [0, 0, 0], [0, 1, 2]))
    # Each more constant takes its integers, its scales, and a few hundred bytes of tables.
    assert same - one < 2 * (5 * channels + 600)
    # Zero points of 8 bytes come again only where they are others.
    assert other - same >= 2 * 8 * channels


def _file(shape: tuple[int, ...], dtype: str, names: tuple[str, str] = ("x", "y"), count: int = 1) -> bytes:
    """A chain of negations."""
    x = lir.Tensor(shape, np.dtype(dtype))
    out = x
    for i in range(count):
        (out,) = lir.emit("NEG", [out], [shape], [np.dtype(dtype)], frozenset({f"n{i}"}), {})
    return pack.pack([pack.Signature("s", {names[0]: x}, {names[1]: out})], {}, {})


def _run(data: bytes, given: Any, name: str = "x") -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    found: dict[str, Any] = Interpreter(model_content=data).get_signature_runner("s")(**{name: given})
    return found


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_what_readers_take_for_granted_need_not_be_written(shape: tuple[int, ...], dtype: str) -> None:
    from ai_edge_litert import schema_py_generated as schema

    data = _file(shape, dtype)
    given = np.full(shape, 3, dtype)
    made = _run(data, given)["y"]
    assert made.dtype == given.dtype
    assert made.shape == shape
    np.testing.assert_array_equal(made, -given)
    tensor = schema.Model.GetRootAs(data).Subgraphs(0).Tensors(0)
    # Else readers take a scalar for a tensor of unknown rank.
    assert shape or tensor.HasRank()


def test_an_operator_takes_no_more_than_its_own_numbers() -> None:
    sizes = [len(_file((2, 3), "float32", count=count)) for count in (100, 600)]
    # A tensor: offset, table of three offsets, name of four letters. An operator: offset, table of four
    # offsets and a number, options, a vector that the next one reads as well. And one node's name.
    assert sizes[1] - sizes[0] < 500 * (4 + 16 + 12 + 4 + 24 + 8 + 2)


def test_names_of_the_program_are_not_given_to_other_tensors() -> None:
    from ai_edge_litert import schema_py_generated as schema

    data = _file((2,), "float32", names=("t1", "t2"), count=4)
    graph = schema.Model.GetRootAs(data).Subgraphs(0)
    names = [graph.Tensors(i).Name() for i in range(graph.TensorsLength())]
    assert len(set(names)) == len(names) == 5
    assert list(_run(data, np.ones(2, np.float32), name="t1")) == ["t2"]


def test_constants_that_differ_in_the_middle_only_are_two() -> None:
    x = lir.Tensor((1000,), np.dtype(np.float32))
    middle = np.zeros(1000, np.float32)
    middle[500] = 1
    out = x
    for numbers in (np.zeros(1000, np.float32), middle, middle.copy()):
        (out,) = lir.emit("ADD", [out, lir.constant(numbers)], [x.shape], [x.dtype], frozenset(), {})
    data = pack.pack([pack.Signature("s", {"x": x}, {"y": out})], {}, {})
    np.testing.assert_array_equal(_run(data, np.ones(1000, np.float32))["y"], 1 + 2 * middle)
    assert len(data) < 3 * 4000
