"""The protocol's messages: what is sent arrives, and what is malformed is refused with a reason."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecut.runtime import wire
from edgecut.runtime.codec import DATATYPES, WireError

Tensors = dict[str, np.ndarray]

DTYPES = sorted(DATATYPES.values())
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
TENSORS = st.dictionaries(st.text(min_size=1, max_size=8), ARRAYS, min_size=1, max_size=3)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def message(*inputs: object, **more: object) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


@given(TENSORS, st.text(max_size=5), st.booleans())
def test_binary_request_arrives_bit_for_bit(tensors: Tensors, request_id: str, binary_output: bool) -> None:
    request = wire.Request(
        tensors, request_id, {"a": 1, "b": "x", "c": True}, {"y": True, "z": False}, binary_output
    )
    encoded = wire.encode_request(request)
    got = wire.decode_request(encoded.body, encoded.header_length)
    assert list(got.tensors) == list(tensors)
    assert all(same(got.tensors[n], tensors[n]) for n in tensors)
    assert (got.id, got.outputs, got.binary) == (request_id, {"y": True, "z": False}, binary_output)
    assert {k: got.parameters[k] for k in "abc"} == request.parameters


@given(TENSORS, st.sets(st.integers(0, 2)))
def test_response_arrives_whichever_outputs_are_binary(tensors: Tensors, which: set[int]) -> None:
    binary = {name for i, name in enumerate(tensors) if i in which}
    for name in list(tensors):
        finite = tensors[name].dtype.kind != "f" or np.isfinite(tensors[name]).all()
        if not finite or tensors[name].dtype == np.float16:
            binary.add(name)
    encoded = wire.encode_response(wire.Response(tensors, "m", "1", "7", {"t": 0.5}), binary)
    got = wire.decode_response(encoded.body, encoded.header_length)
    assert all(same(got.tensors[n], tensors[n]) for n in tensors)
    assert (got.model, got.version, got.id, got.parameters) == ("m", "1", "7", {"t": 0.5})


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_json_numbers_may_be_flat_or_nested(array: np.ndarray) -> None:
    for data in (array.ravel().tolist(), array.tolist()):
        if isinstance(data, list):
            entry = {"name": "x", "shape": list(array.shape), "datatype": "FP32", "data": data}
            assert same(wire.decode_request(message(entry)).tensors["x"], array)


def test_large_integers_keep_every_digit_as_json() -> None:
    values = [2**64 - 1, 2**63 + 1, 0]
    entry = {"name": "x", "shape": [3], "datatype": "UINT64", "data": values}
    assert wire.decode_request(message(entry)).tensors["x"].tolist() == values


def test_arrays_that_are_not_contiguous_or_big_endian_arrive_by_value() -> None:
    array = np.arange(24, dtype=">i4").reshape(2, 3, 4).transpose(2, 0, 1)
    encoded = wire.encode_request(wire.Request({"x": array}))
    got = wire.decode_request(encoded.body, encoded.header_length).tensors["x"]
    np.testing.assert_array_equal(got, array)


def test_tensor_at_an_odd_address_is_aligned() -> None:
    tensors: Tensors = {"a": np.zeros(1, np.int8), "b": np.arange(4, dtype=np.float64)}
    encoded = wire.encode_request(wire.Request(tensors))
    got = wire.decode_request(encoded.body, encoded.header_length).tensors["b"]
    assert got.flags.aligned
    np.testing.assert_array_equal(got, tensors["b"])


def entry(**changes: object) -> dict[str, object]:
    return {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0], **changes}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no valid JSON"),
        (b"\xff\xfe", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b"[]", "no JSON object"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [NaN]}]}', "no valid JSON"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1e999]}]}', "out of range"),
        (b"{}", "'inputs' must be a list"),
        (message(7), "'inputs' must be a list"),
        (message({}), "no name"),
        (message(entry(), entry()), "twice"),
        (message(entry(name=3)), "'name' must be a string"),
        (message(entry(shape=None)), "shape must be"),
        (message(entry(shape=[-1])), "shape must be"),
        (message(entry(shape=[True])), "shape must be"),
        (message(entry(shape=[1.0])), "shape must be"),
        (message(entry(shape=[1] * 33)), "shape must be"),
        (message(entry(shape=[2**40, 2**40, 0])), "too large"),
        (message(entry(shape=[3])), r"has shape \[2\]"),
        (message(entry(datatype="BYTES")), "datatype must be"),
        (message(entry(datatype="BF16")), "datatype must be"),
        (message(entry(datatype="FP16")), "only be sent as binary"),
        (message(entry(datatype=[])), "datatype must be"),
        (message(entry(data=None)), "neither data nor"),
        (message(entry(data="ab")), "neither data nor"),
        (message(entry(data=["a", "b"])), "no number"),
        (message(entry(data=[{}, {}])), "no number"),
        (message(entry(data=[[1], 2])), "no regular array"),
        (message(entry(data=[[1], [2, 3]])), "no regular array"),
        (message(entry(data=[True, False])), "does not hold FP32"),
        (message(entry(datatype="INT8", data=[1.5, 2])), "does not hold INT8"),
        (message(entry(datatype="INT8", data=[1, 128])), "out of range"),
        (message(entry(datatype="UINT8", data=[-1, 0])), "out of range"),
        (message(entry(datatype="INT64", data=[2**63, 0])), "out of range"),
        (message(entry(datatype="UINT64", data=[2**80, 0])), "out of range"),
        (message(entry(datatype="BOOL", data=[1, 0])), "does not hold BOOL"),
        (message(entry(data=[1e39, 0])), "out of range"),
        (message(entry(parameters=[])), "parameters must be"),
        (message(entry(parameters={"a": {}})), "parameters must be"),
        (message(entry(parameters={"binary_data_size": 8})), "0 are left"),
        (message(entry(parameters={"binary_data_size": -8})), "take 8"),
        (message(entry(parameters={"binary_data_size": "8"})), "take 8"),
        (message(entry(), id=7), "'id' must be"),
        (message(entry(), parameters={"binary_data_output": 1}), "must be true or false"),
        (message(entry(), outputs=[{"name": "y", "parameters": {"classification": 3}}]), "only binary_data"),
        (message(entry(), outputs=[{"parameters": {}}]), "no name"),
    ],
)
def test_malformed_request_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        wire.decode_request(body)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda body, n: (body, n - 1), "no valid JSON"),
        (lambda body, n: (body, len(body) + 1), "but the body has"),
        (lambda body, n: (body[:-1], n), "are left in the body"),
        (lambda body, n: (body + b"\0", n), "belong to no tensor"),
        (lambda body, n: (body[:-1] + b"\2", n), "other than 0 and 1"),
    ],
)
def test_binary_request_whose_lengths_lie_is_refused(
    spoil: Callable[[bytes, int], tuple[bytes, int]], reason: str
) -> None:
    encoded = wire.encode_request(wire.Request({"x": np.ones(3, np.bool_)}))
    with pytest.raises(WireError, match=reason):
        wire.decode_request(*spoil(encoded.body, encoded.header_length or 0))


@pytest.mark.parametrize("value", ["-1", "1e3", "", " 7", "7" * 17, "٧"])
def test_header_length_must_be_a_plain_number(value: str) -> None:
    with pytest.raises(WireError, match="no length"):
        wire.header_length(value)


def test_numbers_that_json_cannot_hold_are_not_sent_as_json() -> None:
    with pytest.raises(WireError, match="NaN or infinity"):
        wire.encode_response(wire.Response({"y": np.array([np.nan], np.float32)}))
    with pytest.raises(WireError, match="cannot be sent"):
        wire.encode_request(wire.Request({"x": np.array(["text"])}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "datatype", "data", "parameters", "binary_data_size"]), inner
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["inputs", "outputs", "parameters", "id"]), JSON), st.binary(max_size=16)
)
@example({"inputs": [{"name": "x", "shape": [0, 1 << 40], "datatype": "INT8", "data": []}]}, b"")
def test_any_header_is_decoded_or_refused_and_nothing_else(head: dict[str, object], blob: bytes) -> None:
    text = json.dumps(head).encode()
    try:
        got = wire.decode_request(text + blob, len(text))
    except WireError:
        return
    assert sum(a.nbytes for a in got.tensors.values()) <= 8 * math.prod([len(text) + len(blob)])


@given(st.binary(max_size=64), st.none() | st.integers(0, 80))
def test_any_bytes_are_decoded_or_refused_and_nothing_else(body: bytes, length: int | None) -> None:
    decoders: tuple[Callable[..., object], ...] = (wire.decode_request, wire.decode_response)
    for decode in decoders:
        try:
            decode(body, length)
        except WireError:
            continue
