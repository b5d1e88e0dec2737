"""The integers that stand for a float tensor: dequantized ones, and what only moves or compares them."""

from __future__ import annotations

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Op, Tensor
from edgecut.targets.tflite.quantize import grids
from edgecut.targets.tflite.widths import Width


class Known:
    """Finds the integers of a width; what was found is kept."""

    def __init__(self, width: Width) -> None:
        self.width = width
        self.moved: dict[Tensor, Tensor | None] = {}

    def integers(self, tensor: Tensor) -> Tensor | None:
        """The integers that stand for a float tensor: what was dequantized, or that moved likewise."""
        if tensor not in self.moved:
            self.moved[tensor] = self._integers(tensor)
        return self.moved[tensor]

    def _integers(self, tensor: Tensor) -> Tensor | None:
        op = tensor.op
        if tensor.is_constant:
            return self._constant(tensor)
        x = op.inputs[0] if op is not None and op.inputs else None
        if op is None or x is None:
            return None
        if op.kind == "DEQUANTIZE":
            return x if x.dtype == self.width.dtype else None
        if op.kind in ("SPLIT", "SPLIT_V"):
            return self._divided(op)[op.outputs.index(tensor)]
        if (
            op.kind not in self.width.moves
            or len(op.outputs) != 1
            or op.options.get("fusedActivationFunction")
        ):
            return None
        stored = self.integers(x)
        if stored is None and op.kind == "MAX_POOL_2D":
            stored = self._padded_for_maxima(x)
        if stored is None or stored.quant is None:
            return None
        inputs: list[Tensor | None] = [stored, *op.inputs[1:]]
        if op.kind == "PADV2":
            value = lir.real(grids.given(op, 2))
            inputs[2] = held = grids.constant(value, stored.quant, stored.dtype)
            if abs(float(value) - float(lir.real(held))) > 1e-3 * float(stored.quant.scale[0]):
                return None  # no number of this grid
        return grids.converted(op, inputs, stored.quant, op.sources)

    def _padded_for_maxima(self, x: Tensor) -> Tensor | None:
        """What is padded with a number below all others, in integers with the least of them."""
        pad = x.op
        if (
            pad is None
            or pad.kind != "PADV2"
            or float(lir.real(grids.given(pad, 2))) > np.finfo(np.float32).min
        ):
            return None
        stored = self.integers(grids.given(pad, 0))
        if stored is None or stored.quant is None:
            return None
        least = grids.constant(lir.real(grids.given(pad, 2)), stored.quant, stored.dtype)
        return grids.converted(pad, [stored, pad.inputs[1], least], stored.quant, pad.sources)

    def _divided(self, op: Op) -> list[Tensor | None]:
        """The parts of a tensor as integers."""
        place = 1 if op.kind == "SPLIT" else 0
        stored = self.integers(grids.given(op, place))
        if stored is None:
            return [None] * len(op.outputs)
        copy = lir.like(op, [stored if i == place else t for i, t in enumerate(op.inputs)])
        for old, new in zip(op.outputs, copy.outputs, strict=True):
            new.dtype, new.quant = stored.dtype, stored.quant
            self.moved[old] = new
        return list(copy.outputs)

    def _constant(self, tensor: Tensor) -> Tensor | None:
        """A constant that is stored on one grid of these integers."""
        fits = tensor.quant is not None and tensor.quant.per_tensor and tensor.dtype == self.width.dtype
        return tensor if fits else None
