"""LSTM, GRU and RNN: one step after the other, both directions, with all inputs projected at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Tensor
from edgecut.targets.tflite.ops.base import Call
from edgecut.targets.tflite.ops.matmul import fully_connected

LONGEST = 1024
"""Steps that are unrolled at most: the file grows by some operators for each."""


@dataclass(frozen=True)
class Cell:
    """One direction: its weights, and what it does in a step."""

    weights: Array
    """[gates * hidden, input], in ONNX's order of gates."""
    recurrent: Array
    bias: Array
    """[2, gates * hidden]: of the input, and of the state."""
    hidden: int
    functions: Sequence[str]


Step = Callable[[Call, Cell, Tensor, list[Tensor]], list[Tensor]]
"""From the projected input of a step and the states before it, the states after it."""


def lstm(call: Call) -> Sequence[Tensor | None]:
    """Gates i, o, f, c."""
    call.need(not call.has(7), "peepholes")
    call.need(not call.attribute("input_forget", 0), "input_forget=1")
    return _run(call, 4, ("Sigmoid", "Tanh", "Tanh"), _lstm_step, states=2)


def gru(call: Call) -> Sequence[Tensor | None]:
    """Gates z, r, h."""
    step = _gru_step_after if call.attribute("linear_before_reset", 0) else _gru_step_before
    return _run(call, 3, ("Sigmoid", "Tanh"), step, states=1)


def rnn(call: Call) -> Sequence[Tensor | None]:
    """One gate."""
    return _run(call, 1, ("Tanh",), _rnn_step, states=1)


def _run(call: Call, gates: int, functions: tuple[str, ...], step: Step, states: int) -> list[Tensor | None]:
    call.float_only()
    call.need(not call.attribute("layout", 0), "layout=1")
    call.need(call.attribute("clip") is None, "clip")
    x, hidden = call.input(0), int(call.attribute("hidden_size"))
    call.need(x.shape[0] <= LONGEST, f"{x.shape[0]} steps (up to {LONGEST} are unrolled)")
    lengths = call.known(4)
    full = not call.has(4) or (lengths is not None and bool((lengths == x.shape[0]).all()))
    call.need(full, "sequences of different lengths")
    direction = call.attribute("direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    cells = [_cell(call, d, gates, hidden, functions) for d in range(count)]
    sides = [
        _direction(call, cell, d, step, states, back=_is_back(direction, d)) for d, cell in enumerate(cells)
    ]
    return _join(call, sides, states)


def _is_back(direction: str, number: int) -> bool:
    return direction == "reverse" or number == 1


def _cell(call: Call, number: int, gates: int, hidden: int, functions: tuple[str, ...]) -> Cell:
    weights, recurrent = call.constant(1, "weights")[number], call.constant(2, "recurrent weights")[number]
    zeros = np.zeros(2 * gates * hidden, np.float32)
    bias = call.constant(3, "bias")[number] if call.has(3) else zeros
    wanted = call.attribute("activations") or list(functions) * (number + 1)
    own = tuple(wanted[number * len(functions) : (number + 1) * len(functions)])
    known = all(name in _FUNCTIONS for name in own)
    plain = call.attribute("activation_alpha") is None and call.attribute("activation_beta") is None
    call.need(known and plain, f"activations {', '.join(own)}")
    return Cell(weights, recurrent, bias.reshape(2, -1), hidden, own)


_FUNCTIONS = {"Sigmoid": "LOGISTIC", "Tanh": "TANH", "Relu": "RELU"}


def _direction(
    call: Call, cell: Cell, number: int, step: Step, states: int, *, back: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """The hidden state after each step in the order of time, and all states at the end."""
    x = call.input(0)
    steps, batch, size = x.shape
    rows = call.reshape(x, (steps * batch, size))
    joined = cell.bias[0] + cell.bias[1] if step is not _gru_step_after else cell.bias[0]
    projected = fully_connected(call, rows, lir.constant(cell.weights), lir.constant(joined))
    parts = _rows(call, projected, steps, batch)
    state = [_initial(call, 5 + i, number, batch, cell.hidden) for i in range(states)]
    found: list[Tensor] = []
    for t in reversed(range(steps)) if back else range(steps):
        state = step(call, cell, parts[t], state)
        found.append(state[0])
    return found[::-1] if back else found, state


def _rows(call: Call, tensor: Tensor, steps: int, batch: int) -> Sequence[Tensor]:
    if steps == 1:
        return [tensor]
    shapes = [(batch, tensor.shape[1])] * steps
    return call.emit_many("SPLIT", [lir.integers([0]), tensor], shapes, numSplits=steps)


def _initial(call: Call, index: int, number: int, batch: int, hidden: int) -> Tensor:
    if not call.has(index):
        return lir.constant(np.zeros((batch, hidden), np.float32))
    given = call.input(index)
    if given.shape[0] == 1:
        return call.reshape(given, given.shape[1:])
    begin, size = lir.integers((number, 0, 0)), (1, *given.shape[1:])
    part = call.emit("SLICE", [given, begin, lir.integers(size)], size)
    return call.reshape(part, size[1:])


def _join(call: Call, sides: list[tuple[list[Tensor], list[Tensor]]], states: int) -> list[Tensor | None]:
    """Y [steps, directions, batch, hidden], then the last states [directions, batch, hidden]."""
    outputs: list[Tensor | None] = [None] * (1 + states)
    wanted = [v.uses() or v.is_graph_output() for v in call.node.outputs]
    batch, hidden = sides[0][1][0].shape
    if wanted and wanted[0]:
        every = [side[0][t] for t in range(len(sides[0][0])) for side in sides]
        outputs[0] = _stack(call, every, (len(sides[0][0]), len(sides), batch, hidden))
    for i in range(states):
        outputs[1 + i] = _stack(call, [side[1][i] for side in sides], (len(sides), batch, hidden))
    return outputs


def _stack(call: Call, tensors: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    if len(tensors) == 1:
        return call.reshape(tensors[0], shape)
    rows = (len(tensors) * tensors[0].shape[0], tensors[0].shape[1])
    flat = call.emit("CONCATENATION", tensors, rows, axis=0, fusedActivationFunction=0)
    return call.reshape(flat, shape)


def _lstm_step(call: Call, cell: Cell, x: Tensor, state: list[Tensor]) -> list[Tensor]:
    h, c = state
    gate, squash, out = (_FUNCTIONS[f] for f in cell.functions)
    total = call.binary("ADD", x, _linear(call, h, cell.recurrent))
    i, o, f, g = _split(call, total, 4)
    kept = call.binary("MUL", call.unary(gate, f), c)
    new = call.binary("MUL", call.unary(gate, i), call.unary(squash, g))
    c = call.binary("ADD", kept, new)
    return [call.binary("MUL", call.unary(gate, o), call.unary(out, c)), c]


def _gru_step_after(call: Call, cell: Cell, x: Tensor, state: list[Tensor]) -> list[Tensor]:
    """The reset gate applied to the projected state (``linear_before_reset``, what torch and Keras do)."""
    (h,) = state
    gate, squash = (_FUNCTIONS[f] for f in cell.functions)
    projected = _linear(call, h, cell.recurrent, cell.bias[1])
    first, last = _cut(call, x, 2 * cell.hidden)
    own, candidate = _cut(call, projected, 2 * cell.hidden)
    z, r = _split(call, call.unary(gate, call.binary("ADD", first, own)), 2)
    new = call.unary(squash, call.binary("ADD", last, call.binary("MUL", r, candidate)))
    return [_blend(call, z, h, new)]


def _gru_step_before(call: Call, cell: Cell, x: Tensor, state: list[Tensor]) -> list[Tensor]:
    """The reset gate applied to the state before it is projected."""
    (h,) = state
    gate, squash = (_FUNCTIONS[f] for f in cell.functions)
    first, last = _cut(call, x, 2 * cell.hidden)
    own = _linear(call, h, cell.recurrent[: 2 * cell.hidden])
    z, r = _split(call, call.unary(gate, call.binary("ADD", first, own)), 2)
    candidate = _linear(call, call.binary("MUL", r, h), cell.recurrent[2 * cell.hidden :])
    return [_blend(call, z, h, call.unary(squash, call.binary("ADD", last, candidate)))]


def _rnn_step(call: Call, cell: Cell, x: Tensor, state: list[Tensor]) -> list[Tensor]:
    total = call.binary("ADD", x, _linear(call, state[0], cell.recurrent))
    return [call.unary(_FUNCTIONS[cell.functions[0]], total)]


def _blend(call: Call, z: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """``z * old + (1 - z) * new``."""
    return call.binary("ADD", new, call.binary("MUL", z, call.binary("SUB", old, new)))


def _linear(call: Call, x: Tensor, weights: Array, bias: Array | None = None) -> Tensor:
    return fully_connected(call, x, lir.constant(weights), None if bias is None else lir.constant(bias))


def _split(call: Call, tensor: Tensor, parts: int) -> Sequence[Tensor]:
    rows, columns = tensor.shape
    shapes = [(rows, columns // parts)] * parts
    options: dict[str, Any] = {"numSplits": parts}
    return call.emit_many("SPLIT", [lir.integers([1]), tensor], shapes, **options)


def _cut(call: Call, tensor: Tensor, at: int) -> tuple[Tensor, Tensor]:
    rows, columns = tensor.shape
    sizes = ((0, at), (at, columns - at))
    first, second = (
        call.emit("SLICE", [tensor, lir.integers((0, b)), lir.integers((rows, n))], (rows, n))
        for b, n in sizes
    )
    return first, second


LOWERINGS = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
