"""One file of weights for several ONNX models, each tensor stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as oir

INLINE_BELOW = 1024
"""Tensors of fewer bytes stay in the model: shapes and axes must be known when it is loaded."""
_PAGE_ABOVE = 64 << 10


@dataclass
class WeightFile:
    """Collects tensors, equal ones once, in the order in which they come."""

    location: str
    """File name by which the models refer to it."""
    size: int = 0
    _tensors: list[tuple[int, oir.TensorProtocol]] = field(default_factory=list)
    _offsets: dict[bytes, int] = field(default_factory=dict)

    def take(self, graph: oir.Graph) -> bool:
        """Move the large initializers of a graph here; True if there were any."""
        found = False
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is None or tensor.dtype == oir.DataType.STRING or tensor.nbytes < INLINE_BELOW:
                continue
            value.const_value = self._reference(value.name or "", tensor)
            found = True
        return found

    def blocks(self) -> Iterator[bytes]:
        """Content of the file, in pieces."""
        at = 0
        for offset, tensor in self._tensors:
            yield bytes(offset - at)
            data = tensor.tobytes()
            yield data
            at = offset + len(data)

    def _reference(self, name: str, tensor: oir.TensorProtocol) -> oir.ExternalTensor:
        data = tensor.tobytes()
        key = hashlib.sha256(data).digest()
        if key not in self._offsets:
            self._append(key, tensor, len(data))
        shape = oir.Shape(tensor.shape.numpy())
        offset = self._offsets[key]
        return oir.ExternalTensor(self.location, offset, len(data), tensor.dtype, shape=shape, name=name)

    def _append(self, key: bytes, tensor: oir.TensorProtocol, size: int) -> None:
        # Whole pages can be mapped instead of read; small tensors are only aligned for vector loads.
        align = 4096 if size >= _PAGE_ABOVE else 64
        offset = -(-self.size // align) * align
        self._offsets[key] = offset
        self._tensors.append((offset, tensor))
        self.size = offset + size
