"""LiteRT's own operator profiler, through the C interface that its wheel exports.

The Python package has no interface for it, so the records are read with ctypes. Their layout is known
for the versions in `KNOWN` only; with any other one `OperatorProfiler` refuses, and the caller does without.
Runs on the device: standard library, Python 3.9.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

KNOWN = ("2.3.",)

# One event: tag (char *), type (int32, padded), start and elapsed time (us, uint64), memory before and
# after (3 x 8 bytes each), then node and subgraph (uint64) and source (int32, padded).
_EVENT = struct.Struct("<Qi4xQQ48xQQi4x")
# The library describes a tensor's type in a structure of its own that we only hand from call to call.
_TENSOR_TYPE_BYTES = 256
_CPU = 1
_LOCK_WRITE = 1
_OPERATOR, _DELEGATE_OPERATOR = 2, 8


class ProfilerError(Exception):
    """The C interface is absent, unknown, or cannot run this model; the message says which."""


class Event(NamedTuple):
    """One operator of one inference."""

    name: str
    delegated: bool
    node: int
    seconds: float


class OperatorProfiler:
    """A model compiled for the CPU with its profiler on.

    Args:
        path: The TFLite file.
        threads: CPU threads.

    Raises:
        ProfilerError: This version is not known, or the model does not compile (variable tensors, say).
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._lib = _library()
        self._kept: list[Any] = []  # what the library holds pointers to
        self._environment = self._make("LiteRtCreateEnvironment", c_int(0), None)
        self._model = self._make("LiteRtCreateModelFromFile", self._environment, str(path).encode())
        options = self._make("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, c_int(_CPU))
        self._add(options, b"runtime_options_string", "enable_profiling = true\n")
        self._add(options, b"xnnpack", f"num_threads = {threads}\n")
        self._compiled = self._make("LiteRtCreateCompiledModel", self._environment, self._model, options)
        self._profiler = c_void_p()
        self._call("LiteRtCompiledModelGetProfiler", self._compiled, byref(self._profiler))

    def signatures(self) -> list[str]:
        """Names of the model's signatures, by index."""
        count = c_size_t()
        self._call("LiteRtGetNumModelSignatures", self._model, byref(count))
        return [self._signature_name(i) for i in range(count.value)]

    def prepare(self, signature: int) -> Run:
        """Make the buffers of a signature; the result runs it once per call."""
        inputs = self._buffers(signature, "Input")
        outputs = self._buffers(signature, "Output")
        return Run(self, signature, inputs, outputs)

    def events(self, signature: int, inputs: Any, outputs: Any) -> list[Event]:
        """Run once and read what each operator took, in order."""
        counts = c_size_t(len(inputs)), c_size_t(len(outputs))
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        self._call(
            "LiteRtRunCompiledModel",
            self._compiled,
            c_size_t(signature),
            counts[0],
            inputs,
            counts[1],
            outputs,
        )
        self._call("LiteRtStopProfiler", self._profiler)
        number = c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, byref(number))
        raw = (ctypes.c_uint8 * (_EVENT.size * max(number.value, 1)))()
        self._call("LiteRtGetProfilerEvents", self._profiler, number, raw)
        return _own(_EVENT.iter_unpack(bytes(raw)))

    def _signature_name(self, index: int) -> str:
        name = c_char_p()
        self._call("LiteRtGetSignatureKey", self._signature(index), byref(name))
        return (name.value or b"").decode()

    def _signature(self, index: int) -> c_void_p:
        return self._make("LiteRtGetModelSignature", self._model, c_size_t(index))

    def _buffers(self, signature: int, which: str) -> Any:
        handle, count = self._signature(signature), c_size_t()
        self._call(f"LiteRtGetNumSignature{which}s", handle, byref(count))
        return (c_void_p * count.value)(
            *(self._buffer(handle, signature, which, i).value for i in range(count.value))
        )

    def _buffer(self, handle: c_void_p, signature: int, which: str, index: int) -> c_void_p:
        tensor = self._make(f"LiteRtGetSignature{which}TensorByIndex", handle, c_size_t(index))
        tensor_type = (ctypes.c_byte * _TENSOR_TYPE_BYTES)()
        self._call("LiteRtGetRankedTensorType", tensor, tensor_type)
        needs = self._make(
            f"LiteRtGetCompiledModel{which}BufferRequirements",
            self._compiled,
            c_size_t(signature),
            c_size_t(index),
        )
        buffer = self._make(
            "LiteRtCreateManagedTensorBufferFromRequirements", self._environment, tensor_type, needs
        )
        if which == "Input":
            self._clear(buffer)
        return buffer

    def _clear(self, buffer: c_void_p) -> None:
        """Zeros are valid indices and valid numbers of every type."""
        size, place = c_size_t(), c_void_p()
        self._call("LiteRtGetTensorBufferSize", buffer, byref(size))
        self._call("LiteRtLockTensorBuffer", buffer, byref(place), c_int(_LOCK_WRITE))
        ctypes.memset(place, 0, size.value)
        self._call("LiteRtUnlockTensorBuffer", buffer)

    def _add(self, options: c_void_p, identifier: bytes, text: str) -> None:
        payload = ctypes.create_string_buffer(text.encode())
        keep = ctypes.CFUNCTYPE(None, c_void_p)(lambda _: None)  # we own the payload, not the library
        self._kept += [payload, keep]
        opaque = self._make("LiteRtCreateOpaqueOptions", identifier, ctypes.cast(payload, c_void_p), keep)
        self._call("LiteRtAddOpaqueOptions", options, opaque)

    def _make(self, name: str, *arguments: Any) -> c_void_p:
        """Call a function that gives back a handle through its last argument."""
        handle = c_void_p()
        self._call(name, *arguments, byref(handle))
        return handle

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._lib, name)(*arguments)
        if status != 0:
            raise ProfilerError(f"{name} gives status {status}")


class Run:
    """One signature with its buffers, ready to run."""

    def __init__(self, profiler: OperatorProfiler, signature: int, inputs: Any, outputs: Any) -> None:
        self._profiler = profiler
        self._arguments = (signature, inputs, outputs)

    def __call__(self) -> list[Event]:
        """Run once."""
        return self._profiler.events(*self._arguments)


def _own(records: Iterable[tuple[int, ...]]) -> list[Event]:
    """The operators of the signature itself; what a WHILE runs is in the time of the WHILE."""
    kept = [fields for fields in records if fields[1] in (_OPERATOR, _DELEGATE_OPERATOR)]
    return [_event(fields) for fields in kept if fields[5] == kept[0][5]]


def _event(fields: tuple[int, ...]) -> Event:
    tag, kind, _, elapsed, node, _, _ = fields
    name = ctypes.string_at(tag).decode(errors="replace") if tag else ""
    return Event(name, kind == _DELEGATE_OPERATOR, node, elapsed * 1e-6)


def _library() -> Any:
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("ai-edge-litert")
        import ai_edge_litert

        if not found.startswith(KNOWN):
            raise ProfilerError(f"the layout of ai-edge-litert {found}'s profiler records is not known")
        return ctypes.CDLL(str(Path(ai_edge_litert.__path__[0]) / "libLiteRt.so"))
    except (PackageNotFoundError, ImportError, OSError) as error:
        raise ProfilerError(f"LiteRT's C library is not usable: {error}") from error
