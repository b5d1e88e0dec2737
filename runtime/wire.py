"""The Open Inference Protocol (KServe v2) over HTTP, with the binary tensor data extension.

A message is a JSON header, whose length stands in the HTTP header ``Inference-Header-Content-Length``,
followed by the raw little-endian bytes of the tensors in the header's order. A tensor may also stand in
the header itself, as JSON numbers. Nothing that is decoded here is trusted: sizes are compared with the
bytes that are really there before anything is allocated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np

from edgecut.runtime import codec
from edgecut.runtime.codec import DATATYPES, MAX_RANK, WireError, datatype

LENGTH_HEADER = "Inference-Header-Content-Length"
SINK_PATH = "/edgecut/sink"
"""Where a device sends bytes without meaning, to see how long they take."""
QUEUE_S = "edgecut_queue_s"
"""Response parameter: seconds that the request waited in the server."""
PREFIX = "edgecut_prefix"
"""Parameter of a request's last tensor: so many of its bytes are there at least, and others as far as there
was time to send them. Parameter of a response: so many were there, where not all were."""
COMPUTE_S = "edgecut_compute_s"
"""Response parameter: seconds that the model took."""


@dataclass(frozen=True)
class Encoded:
    """A message ready to be sent."""

    body: bytes
    header_length: Optional[int]
    """For ``Inference-Header-Content-Length``; None where the body is JSON alone."""

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that go with the body."""
        if self.header_length is None:
            return {"Content-Type": "application/json"}
        return {"Content-Type": "application/octet-stream", LENGTH_HEADER: str(self.header_length)}


@dataclass(frozen=True)
class Request:
    """What is asked: the inputs, and which outputs are wanted in which form."""

    tensors: dict[str, np.ndarray]
    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, bool] = field(default_factory=dict)
    """Wanted outputs, and whether each is wanted as binary; empty: all of them."""
    binary: bool = False
    """Whether outputs that are not named are wanted as binary."""
    prefix: Optional[tuple[str, int]] = None
    """The tensor that may end early, which is the last, and its bytes that come in any case."""
    missing: int = 0
    """Bytes of it that did not come."""

    def wants_binary(self, output: str) -> bool:
        """Whether an output is to be sent as raw bytes."""
        return self.outputs.get(output, self.binary)


@dataclass(frozen=True)
class Response:
    """The answer: the outputs, and which model gave them."""

    tensors: dict[str, np.ndarray]
    model: str = ""
    version: str = ""
    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


def encode_request(request: Request, *, binary: bool = True) -> Encoded:
    """Encode a request, its tensors as raw bytes or as JSON numbers.

    Raises:
        WireError: A tensor has a type or value that cannot be sent in this form.
    """
    head: dict[str, Any] = {"id": request.id} if request.id else {}
    parameters = {**request.parameters, "binary_data_output": True} if request.binary else request.parameters
    if parameters:
        head["parameters"] = parameters
    head["inputs"], blobs = _encode_tensors(request.tensors, (n for n in request.tensors if binary))
    if request.prefix is not None:
        name, least = request.prefix
        assert head["inputs"][-1]["name"] == name, "the tensor that may end early is the last"
        head["inputs"][-1]["parameters"][PREFIX] = least
    if request.outputs:
        wanted = request.outputs.items()
        head["outputs"] = [{"name": n, "parameters": {"binary_data": as_bytes}} for n, as_bytes in wanted]
    return _join(head, blobs)


def encode_response(response: Response, binary: Iterable[str] = ()) -> Encoded:
    """Encode a response; the tensors named in ``binary`` go as raw bytes, the others as JSON numbers.

    Raises:
        WireError: A tensor has a type or value that cannot be sent in this form.
    """
    head: dict[str, Any] = {"model_name": response.model, "model_version": response.version}
    if response.id:
        head["id"] = response.id
    if response.parameters:
        head["parameters"] = response.parameters
    head["outputs"], blobs = _encode_tensors(response.tensors, binary)
    return _join(head, blobs)


def decode_request(body: bytes, header_length: Optional[int] = None) -> Request:
    """Decode a request; its arrays may be views of ``body``.

    Raises:
        WireError: It does not follow the protocol.
    """
    head, blob = _part(body, header_length)
    parameters = _parameters(head, "the request")
    outputs, binary = {}, _flag(parameters, "binary_data_output", False)
    for entry in _entries(head, "outputs"):
        wanted = _parameters(entry, f"output {entry['name']!r}")
        if "classification" in wanted or "shared_memory_region" in wanted:
            raise WireError(f"output {entry['name']!r}: only binary_data is supported as a parameter")
        outputs[entry["name"]] = _flag(wanted, "binary_data", binary)
    entries = _entries(head, "inputs", required=True)
    prefix = _prefix(entries)
    tensors = _decode_tensors(entries, blob, prefix)
    missing = 0
    if prefix is not None:
        missing = math.prod(_shape(entries[-1])) - tensors[prefix[0]].nbytes
    return Request(tensors, _text(head, "id"), parameters, outputs, binary, prefix, missing)


def decode_response(body: bytes, header_length: Optional[int] = None) -> Response:
    """Decode a response; its arrays may be views of ``body``.

    Raises:
        WireError: It does not follow the protocol.
    """
    head, blob = _part(body, header_length)
    tensors = _decode_tensors(_entries(head, "outputs", required=True), blob)
    model, version, request_id = (_text(head, key) for key in ("model_name", "model_version", "id"))
    return Response(tensors, model, version, request_id, _parameters(head, "the response"))


def header_length(value: Optional[str]) -> Optional[int]:
    """Parse the value of ``Inference-Header-Content-Length``.

    Raises:
        WireError: It is no decimal number.
    """
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise WireError(f"{LENGTH_HEADER} is no length")
    return int(value)


def _encode_tensors(
    tensors: Mapping[str, np.ndarray], binary: Iterable[str]
) -> tuple[list[dict[str, Any]], list[bytes]]:
    entries, blobs, as_bytes = [], [], set(binary)
    for name, array in tensors.items():
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype(array.dtype)}
        if name in as_bytes:
            blobs.append(codec.to_bytes(array))
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            entry["data"] = codec.to_json(name, array)
        entries.append(entry)
    return entries, blobs


def _join(head: dict[str, Any], blobs: list[bytes]) -> Encoded:
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    return Encoded(b"".join((text, *blobs)), len(text) if blobs else None)


def _part(body: bytes, length: Optional[int]) -> tuple[dict[str, Any], memoryview]:
    if length is not None and length > len(body):
        raise WireError(f"{LENGTH_HEADER} is {length}, but the body has {len(body)} bytes")
    end = len(body) if length is None else length
    try:
        head = json.loads(body[:end].decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise WireError("the header is no valid JSON") from error
    if not isinstance(head, dict):
        raise WireError("the header is no JSON object")
    return head, memoryview(body)[end:]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _entries(head: dict[str, Any], key: str, *, required: bool = False) -> list[dict[str, Any]]:
    """The tensors that a header lists under a key: objects with distinct names."""
    found = head.get(key, None if required else [])
    if not isinstance(found, list) or not all(isinstance(e, dict) for e in found):
        raise WireError(f"{key!r} must be a list of objects")
    names = [_text(entry, "name") for entry in found]
    if "" in names:
        raise WireError(f"an entry of {key!r} has no name")
    if len(set(names)) != len(names):
        raise WireError(f"{key!r} names a tensor twice")
    return found


def _prefix(entries: list[dict[str, Any]]) -> Optional[tuple[str, int]]:
    """The tensor that may end early, and the least of its bytes."""
    found = [e for e in entries if PREFIX in _parameters(e, repr(e["name"]))]
    if not found:
        return None
    entry = found[0]
    name, least, size = (
        entry["name"],
        entry["parameters"][PREFIX],
        entry["parameters"].get("binary_data_size"),
    )
    if len(found) > 1 or entry is not entries[-1]:
        raise WireError(f"{name!r} ends early but is not the last tensor")
    if _dtype(entry) != np.uint8 or len(_shape(entry)) != 1 or not _is_int(size):
        raise WireError(f"{name!r} is no stream of bytes, and cannot end early")
    if not _is_int(least) or not 0 < least <= size:
        raise WireError(f"{name!r}: {PREFIX} must be a number of bytes from 1 to {size}")
    return name, least


def _decode_tensors(
    entries: list[dict[str, Any]], blob: memoryview, prefix: Optional[tuple[str, int]] = None
) -> dict[str, np.ndarray]:
    tensors, at = {}, 0
    for entry in entries:
        name, shape, dtype = entry["name"], _shape(entry), _dtype(entry)
        size = _parameters(entry, repr(name)).get("binary_data_size")
        if size is None:
            tensors[name] = codec.from_json(name, entry.get("data"), shape, dtype)
            continue
        expected = math.prod(shape) * dtype.itemsize
        if not _is_int(size) or size != expected:
            raise WireError(f"{name!r} has {size} bytes, but its shape and type take {expected}")
        if prefix is not None and prefix[0] == name and prefix[1] <= len(blob) - at < expected:
            expected = len(blob) - at
            shape = (expected,)
        if at + expected > len(blob):
            raise WireError(f"{name!r} has {expected} bytes, but {len(blob) - at} are left in the body")
        tensors[name] = codec.from_bytes(name, blob[at : at + expected], shape, dtype)
        at += expected
    if at != len(blob):
        raise WireError(f"{len(blob) - at} bytes at the end of the body belong to no tensor")
    return tensors


def _shape(entry: dict[str, Any]) -> tuple[int, ...]:
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(_is_int(d) and d >= 0 for d in shape):
        raise WireError(f"{entry['name']!r}: shape must be a list of at most {MAX_RANK} lengths")
    # NumPy multiplies dimensions in 64 bits even where another one is 0.
    if math.prod(max(d, 1) for d in shape) >= 1 << 48:
        raise WireError(f"{entry['name']!r}: shape is too large")
    return tuple(shape)


def _dtype(entry: dict[str, Any]) -> np.dtype[Any]:
    name = entry.get("datatype")
    if not isinstance(name, str) or name not in DATATYPES:
        raise WireError(f"{entry['name']!r}: datatype must be one of {', '.join(DATATYPES)}")
    return np.dtype(DATATYPES[name])


def _parameters(owner: dict[str, Any], where: str) -> dict[str, Any]:
    found = owner.get("parameters", {})
    scalars = isinstance(found, dict) and all(isinstance(v, (str, int, float, bool)) for v in found.values())
    if not scalars:
        raise WireError(f"{where}: parameters must be an object of strings, numbers and booleans")
    return dict(found)


def _flag(parameters: dict[str, Any], key: str, default: bool) -> bool:
    found = parameters.get(key, default)
    if not isinstance(found, bool):
        raise WireError(f"parameter {key} must be true or false")
    return found


def _text(owner: dict[str, Any], key: str) -> str:
    found = owner.get(key, "")
    if not isinstance(found, str):
        raise WireError(f"{key!r} must be a string")
    return found


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
