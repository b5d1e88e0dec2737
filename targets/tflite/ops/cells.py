"""One step of an LSTM, a GRU or an RNN. The products with the inputs are made for all steps at once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Tensor
from edgecut.targets.tflite.ops.base import Call
from edgecut.targets.tflite.ops.gates import Function
from edgecut.targets.tflite.ops.matmul import fully_connected

State = Tensor | None
"""None stands for zeros."""


class Projection(NamedTuple):
    """``x @ weights' + bias``; every step takes its row, as the bias of `Cell.linear` or as a matrix."""

    weights: Array
    bias: Array
    matrix: bool = False


@dataclass(frozen=True)
class Weights:
    """What one direction of a layer is made of, gates in ONNX's order."""

    input: Array
    """[gates * hidden, input]"""
    recurrent: Array
    """[gates * hidden, hidden]"""
    bias: Array
    """[2, gates * hidden]: of the input, and of the state."""
    peephole: Array | None
    """[3 * hidden]: of the cell into the gates i, o and f of an LSTM."""
    hidden: int
    functions: tuple[Function, ...]
    clip: float | None


class Cell(ABC):
    """Computes steps.

    The product with the state is one FULLY_CONNECTED whose bias is the row of the step. Such a bias is no
    constant, which keeps the operator out of XNNPACK: there every step would pack a copy of the weights for
    itself, and an unrolled layer would stream megabytes instead of reading one matrix from the cache.
    """

    gates: int
    states: int
    functions: tuple[str, ...]

    def __init__(self, call: Call, weights: Weights) -> None:
        self.call = call
        self.w = weights

    def project(self) -> list[Projection]:
        """The products with the inputs that the steps take."""
        return [Projection(self.w.input, self.w.bias.sum(0))]

    @abstractmethod
    def step(self, rows: Sequence[Tensor], state: Sequence[State]) -> list[State]:
        """The states after a step."""

    def linear(self, row: Tensor, state: State, weights: Tensor) -> Tensor:
        """``row + state @ weights'``, where a row of batch 1 is a vector."""
        if row.rank == 2:
            return row if state is None else self.call.binary("ADD", row, self.times(state, weights))
        if state is None:
            return self.call.reshape(row, (1, *row.shape))
        return fully_connected(self.call, state, weights, row)

    def times(self, state: Tensor, weights: Tensor) -> Tensor:
        """``state @ weights'``."""
        return fully_connected(self.call, state, weights, None)

    def apply(self, number: int, x: Tensor) -> Tensor:
        """One of the cell's activation functions."""
        clip, call = self.w.clip, self.call
        if clip is not None and number < 2:  # what leaves the cell is not limited, in ONNX Runtime
            x = call.binary("MINIMUM", call.binary("MAXIMUM", x, call.scalar(-clip)), call.scalar(clip))
        return self.w.functions[number].apply(call, x)

    def split(self, tensor: Tensor, parts: int) -> Sequence[Tensor]:
        """Equal columns."""
        rows, columns = tensor.shape
        shapes = [(rows, columns // parts)] * parts
        return self.call.emit_many("SPLIT", [lir.integers([1]), tensor], shapes, numSplits=parts)


class Lstm(Cell):
    """Gates i, o, f, c."""

    gates, states, functions = 4, 2, ("Sigmoid", "Tanh", "Tanh")

    def __init__(self, call: Call, weights: Weights) -> None:
        super().__init__(call, weights)
        self.recurrent = lir.constant(weights.recurrent)
        looks = [] if weights.peephole is None else np.split(weights.peephole[None], 3, axis=1)
        self.peepholes: list[Tensor | None] = [lir.constant(p) for p in looks]
        self.peepholes = self.peepholes or [None] * 3

    def step(self, rows: Sequence[Tensor], state: Sequence[State]) -> list[State]:
        """Hidden state and cell."""
        h, c = state
        look_i, look_o, look_f = self.peepholes
        i, o, f, g = self.split(self.linear(rows[0], h, self.recurrent), 4)
        new = self.call.binary("MUL", self.apply(0, self._look(i, look_i, c)), self.apply(1, g))
        if c is not None:
            kept = self.call.binary("MUL", self.apply(0, self._look(f, look_f, c)), c)
            new = self.call.binary("ADD", kept, new)
        gate = self.apply(0, self._look(o, look_o, new))
        return [self.call.binary("MUL", gate, self.apply(2, new)), new]

    def _look(self, gate: Tensor, weights: Tensor | None, c: State) -> Tensor:
        if weights is None or c is None:
            return gate
        return self.call.binary("ADD", gate, self.call.binary("MUL", c, weights))


class Gru(Cell):
    """Gates z, r, h, with the reset gate applied to the state before it is projected."""

    gates, states, functions = 3, 1, ("Sigmoid", "Tanh")

    def __init__(self, call: Call, weights: Weights) -> None:
        super().__init__(call, weights)
        self.first, self.last = (lir.constant(a) for a in np.split(weights.recurrent, [2 * weights.hidden]))

    def project(self) -> list[Projection]:
        """The two gates, and the candidate."""
        at = [2 * self.w.hidden]
        return list(map(Projection, np.split(self.w.input, at), np.split(self.w.bias.sum(0), at)))

    def step(self, rows: Sequence[Tensor], state: Sequence[State]) -> list[State]:
        """Hidden state."""
        (h,) = state
        z, r = self.split(self.apply(0, self.linear(rows[0], h, self.first)), 2)
        reset = None if h is None else self.call.binary("MUL", r, h)
        return [self.blend(z, h, self.apply(1, self.linear(rows[1], reset, self.last)))]

    def blend(self, z: Tensor, old: State, new: Tensor) -> Tensor:
        """``z * old + (1 - z) * new``."""
        if old is None:
            return self.call.binary("SUB", new, self.call.binary("MUL", z, new))
        change = self.call.binary("MUL", z, self.call.binary("SUB", old, new))
        return self.call.binary("ADD", new, change)


class GruAfter(Gru):
    """The reset gate applied to the projected state (``linear_before_reset``, what torch and Keras do)."""

    def __init__(self, call: Call, weights: Weights) -> None:
        super().__init__(call, weights)
        self.recurrent = lir.constant(weights.recurrent)

    def project(self) -> list[Projection]:
        """The gates with the state's bias of the candidate, and what the candidate has of the input."""
        # The first row goes in with the state, and so has the state's own bias where the candidate is.
        at = 2 * self.w.hidden
        first, bias = self.w.input.copy(), self.w.bias.sum(0)
        first[at:], bias[at:] = 0, self.w.bias[1, at:]
        return [Projection(first, bias), Projection(self.w.input[at:], self.w.bias[0, at:], matrix=True)]

    def step(self, rows: Sequence[Tensor], state: Sequence[State]) -> list[State]:
        """Hidden state."""
        (h,) = state
        z, r, candidate = self.split(self.linear(rows[0], h, self.recurrent), 3)
        own = self.call.binary("MUL", self.apply(0, r), candidate)
        return [self.blend(self.apply(0, z), h, self.apply(1, self.call.binary("ADD", rows[1], own)))]


class Rnn(Cell):
    """One gate."""

    gates, states, functions = 1, 1, ("Tanh",)

    def __init__(self, call: Call, weights: Weights) -> None:
        super().__init__(call, weights)
        self.recurrent = lir.constant(weights.recurrent)

    def step(self, rows: Sequence[Tensor], state: Sequence[State]) -> list[State]:
        """Hidden state."""
        return [self.apply(0, self.linear(rows[0], state[0], self.recurrent))]


def clip_of(call: Call) -> float | None:
    """The limit of what goes into the activation functions."""
    found = call.attribute("clip")
    return None if found is None or math.isinf(found) else float(found)
