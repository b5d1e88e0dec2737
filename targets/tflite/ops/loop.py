"""A recurrent layer as a WHILE, some steps in each round.

Unrolled, every step would be operators of its own: XNNPACK packs a copy of the weights for each, and so they
are kept away from it (see `cells`). The body of a loop is prepared once: its few steps share what is packed,
and run in XNNPACK as a whole. What a loop carries it copies in each round; so the inputs go around, not their
wider products with the weights, and the results only where they are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Part, Tensor
from edgecut.targets.tflite.ops.base import BOOL, INT32, Call
from edgecut.targets.tflite.ops.cells import Cell, State
from edgecut.targets.tflite.ops.matmul import fully_connected

# Fewer steps do not pay for the beginning of a loop; small weights not for its rounds; large ones are faster
# shared by all steps than packed several times.
_SHORTEST, _SMALLEST, _LARGEST = 32, 1 << 15, 1 << 19
# Steps in a round at most, and the bytes of their weights together, which should stay in the cache.
_STEPS, _BYTES = 4, 1 << 20


class Rolled(NamedTuple):
    """What a loop over all steps of one direction gives."""

    every: Tensor | None
    """[steps, hidden], in the order of time."""
    last: list[Tensor]
    """The states after the last step, [1, hidden] each."""


def pays(steps: int, recurrent: Array) -> bool:
    """Whether a loop is faster than its steps one by one, by their number and the weights of the state."""
    return steps >= _SHORTEST and _SMALLEST <= recurrent.nbytes <= _LARGEST


def run(call: Call, x: Tensor, cell: Cell, state: Sequence[State], *, back: bool, every: bool) -> Rolled:
    """One direction of a layer over a single sequence.

    Args:
        call: The node.
        x: [steps, 1, input]
        cell: Computes the steps.
        state: What they begin with.
        back: From the last step to the first.
        every: Give the results of all steps, too.
    """
    steps, _, size = x.shape
    per_round = _per_round(steps, cell)
    rounds, hidden = steps // per_round, cell.w.hidden
    first = [lir.constant(np.zeros((1, hidden), np.float32)) if s is None else s for s in state]
    begin, end, change = (rounds - 1, -1, -1) if back else (0, rounds, 1)
    carried = [lir.integers([begin]), *first, call.reshape(x, (rounds, per_round * size))]
    if every:
        dims = (rounds, per_round * hidden)  # as a constant, the zeros would be stored
        carried.append(call.emit("FILL", [lir.integers(dims), call.scalar(0.0)], dims, np.float32))
    inside = [Tensor(t.shape, t.dtype) for t in carried]
    number, states, rows = inside[0], inside[1 : 1 + len(first)], inside[1 + len(first)]

    taken = call.emit("GATHER", [rows, number], (1, per_round * size), axis=0, batchDims=0)
    made, results = _steps(call, cell, call.reshape(taken, (per_round, size)), states, back=back)
    after = [call.emit("ADD", [number, lir.integers([change])], (1,), INT32, fusedActivationFunction=0)]
    after += [*made, rows]
    if every:
        place = concatenated(call, [number, lir.integers([0])], 0)
        wide = concatenated(call, results, 1)
        after.append(call.emit("DYNAMIC_UPDATE_SLICE", [inside[-1], wide, place], inside[-1].shape))
    body = Part(tuple(inside), tuple(after))
    out = lir.emit(
        "WHILE",
        carried,
        [t.shape for t in carried],
        [t.dtype for t in carried],
        call.sources,
        parts=(_condition(call, inside, end, back=back), body),
    )
    whole = call.reshape(out[-1], (steps, hidden)) if every else None
    return Rolled(whole, list(out[1 : 1 + len(first)]))


def _per_round(steps: int, cell: Cell) -> int:
    size = cell.w.recurrent.nbytes
    return max(n for n in range(1, _STEPS + 1) if steps % n == 0 and (n == 1 or n * size <= _BYTES))


def _condition(call: Call, inside: Sequence[Tensor], end: int, *, back: bool) -> Part:
    own = [Tensor(t.shape, t.dtype) for t in inside]
    pair = [lir.integers([end]), own[0]] if back else [own[0], lir.integers([end])]
    return Part(tuple(own), (call.emit("LESS", pair, (1,), BOOL),))


def _steps(
    call: Call, cell: Cell, rows: Tensor, state: Sequence[Tensor], *, back: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """The states after the steps of a round, and the results in the order of time."""
    count = rows.shape[0]
    parts = [
        _rows(call, fully_connected(call, rows, lir.constant(weights), lir.constant(bias)))
        for weights, bias, _ in cell.project()
    ]
    states: list[State] = list(state)
    results = []
    for t in reversed(range(count)) if back else range(count):
        states = cell.step([part[t] for part in parts], states)
        results.append(states[0])
    found = [t for t in (results[::-1] if back else results) if t is not None]
    return [t for t in states if t is not None], found


def _rows(call: Call, tensor: Tensor) -> Sequence[Tensor]:
    """[1, columns] for each row."""
    count, columns = tensor.shape
    if count == 1:
        return [tensor]
    return call.emit_many("SPLIT", [lir.integers([0]), tensor], [(1, columns)] * count, numSplits=count)


def concatenated(call: Call, tensors: Sequence[Tensor], axis: int) -> Tensor:
    """One behind the other."""
    if len(tensors) == 1:
        return tensors[0]
    shape = list(tensors[0].shape)
    shape[axis] = sum(t.shape[axis] for t in tensors)
    return call.emit("CONCATENATION", tensors, shape, axis=axis, fusedActivationFunction=0)
