"""The tables of a flatbuffer that come by the thousand, without what readers take for granted.

Tables and vectors of the same numbers are written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from edgecut.targets.tflite import flat
from edgecut.targets.tflite.lir import Quant


class Shared:
    """A table that many operators refer to, and that is written once."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self.place: int | None = None

    def Pack(self, builder: Any) -> int:  # noqa: N802 (the generated classes call it so)
        """Its place."""
        if self.place is None:
            self.place = self.table.Pack(builder)
        return self.place


class Grids:
    """Tables of quantization parameters. Equal ones, and equal vectors in them, are written once.

    Per channel there is a zero point of 8 bytes beside a scale of 4, and nearly all zero points are zero.
    """

    def __init__(self) -> None:
        self.tables: dict[tuple[bytes, bytes, int], int] = {}
        self.scales: dict[bytes, int] = {}
        self.zeros: dict[bytes, int] = {}
        self.layouts = {
            False: flat.Layout(offsets=(2, 3), words=(), octets=()),
            True: flat.Layout(offsets=(2, 3), words=(6,), octets=()),
        }
        """By whether the axis is another than 0, which need not be said."""

    def place(self, builder: Any, grid: Quant) -> int:
        """Where the table is, written if it is new."""
        scale = np.asarray(grid.scale, "<f4").tobytes()
        zero = np.asarray(grid.zero, "<i8").tobytes()
        if (scale, zero, grid.axis) not in self.tables:
            if scale not in self.scales:
                self.scales[scale] = flat.floats(builder, scale)
            if zero not in self.zeros:
                self.zeros[zero] = flat.longs(builder, zero)
            vectors = [self.scales[scale], self.zeros[zero]]
            axis = (grid.axis,) if grid.axis else ()
            place = self.layouts[bool(axis)].write(builder, vectors, axis, ())
            self.tables[scale, zero, grid.axis] = place
        return self.tables[scale, zero, grid.axis]


class Vectors:
    """Vectors of int32, those of the same numbers written once: shapes, and what operators read and make."""

    def __init__(self) -> None:
        self.places: dict[tuple[int, ...], int] = {}

    def place(self, builder: Any, numbers: tuple[int, ...]) -> int:
        """Where the vector is, written if it is new."""
        if numbers not in self.places:
            self.places[numbers] = flat.integers(builder, numbers)
        return self.places[numbers]


class TensorRow(NamedTuple):
    """What a subgraph says of a tensor."""

    name: str
    shape: tuple[int, ...]
    type: int
    buffer: int
    signature: tuple[int, ...] | None
    quantization: Quant | None


class OperatorRow(NamedTuple):
    """What a subgraph says of an operator; tensors are told by their numbers."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: int
    options: Shared | None


class Subgraph(NamedTuple):
    """A subgraph that writes itself, as the generated classes do. Slots are those of the schema."""

    name: str
    tensors: list[TensorRow]
    operators: list[OperatorRow]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    grids: Grids
    vectors: Vectors

    def Pack(self, builder: Any) -> int:  # noqa: N802 (the generated classes call it so)
        """Write it; gives its place."""
        tensors = flat.places(builder, self._tensors(builder))
        operators = flat.places(builder, self._operators(builder))
        ends = [self.vectors.place(builder, numbers) for numbers in (self.inputs, self.outputs)]
        name = flat.text(builder, self.name)
        layout = flat.Layout(offsets=(0, 1, 2, 3, 4), words=(), octets=())
        return layout.write(builder, [tensors, *ends, operators, name], (), ())

    def _tensors(self, builder: Any) -> list[int]:
        """Tables without what readers take for granted: buffer 0 (nothing stored), type 0 (float32)."""
        layouts: dict[tuple[Sequence[int], ...], flat.Layout] = {}
        found = []
        for item in self.tensors:
            targets = {3: flat.text(builder, item.name)}
            for slot, shape in ((0, item.shape), (7, item.signature)):
                if shape is not None:
                    targets[slot] = self.vectors.place(builder, shape)
            if item.quantization is not None:
                targets[4] = self.grids.place(builder, item.quantization)
            words = {2: item.buffer} if item.buffer else {}
            # Without a shape, a scalar is told from a tensor of unknown rank by the last octet alone.
            octets = {1: item.type, 8: 1} if item.type or not item.shape else {}
            slots = (tuple(targets), tuple(words), tuple(octets))
            if slots not in layouts:
                layouts[slots] = flat.Layout(*slots)
            numbers = (fields.values() for fields in (targets, words, octets))
            found.append(layouts[slots].write(builder, *map(tuple, numbers)))
        return found

    def _operators(self, builder: Any) -> list[int]:
        plain = flat.Layout(offsets=(1, 2), words=(0,), octets=())
        optional = flat.Layout(offsets=(1, 2, 4), words=(0,), octets=(3,))
        found = []
        for op in self.operators:
            targets = [self.vectors.place(builder, numbers) for numbers in (op.inputs, op.outputs)]
            if op.options is None:
                found.append(plain.write(builder, targets, (op.code,), ()))
                continue
            targets.append(op.options.Pack(builder))
            found.append(optional.write(builder, targets, (op.code,), (op.options_type,)))
        return found
