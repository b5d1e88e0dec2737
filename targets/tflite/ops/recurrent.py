"""LSTM, GRU and RNN in both directions: a loop over many steps, or unrolled, all inputs projected at once.

Unrolled are few steps, several sequences at once or of different lengths, and where not all steps are needed:
of a classifier that reads the last one, the way back runs a single step.

The fused UNIDIRECTIONAL_SEQUENCE_LSTM is not used: it needs variable tensors, which LiteRT's CompiledModel
refuses, and its kernel is slower than the steps as `cells` writes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops import loop, reads
from edgecut.targets.tflite.ops.base import BOOL, Call
from edgecut.targets.tflite.ops.cells import (
    Cell,
    Gru,
    GruAfter,
    Lstm,
    Rnn,
    State,
    Weights,
    clip_of,
)
from edgecut.targets.tflite.ops.gates import functions
from edgecut.targets.tflite.ops.matmul import fully_connected

LONGEST = 1024
"""Where they are no loop, steps that are unrolled at most: the file grows by some operators for each."""


def lstm(call: Call) -> Sequence[Tensor | None]:
    """Gates i, o, f, c."""
    call.need(not call.attribute("input_forget", 0), "input_forget=1")
    return _run(call, Lstm)


def gru(call: Call) -> Sequence[Tensor | None]:
    """Gates z, r, h."""
    return _run(call, GruAfter if call.attribute("linear_before_reset", 0) else Gru)


def rnn(call: Call) -> Sequence[Tensor | None]:
    """One gate."""
    return _run(call, Rnn)


Every = Tensor | list[Tensor]
"""The hidden state after each step in the order of time: [steps, hidden] of one sequence, or one by one."""


def _run(call: Call, kind: type[Cell]) -> list[Tensor | None]:
    call.float_only()
    x, batch_first = call.input(0), bool(call.attribute("layout", 0))
    if batch_first:
        x = call.transpose(x, (1, 0, 2))
    count = x.shape[0]
    lengths, direction = _lengths(call, count), call.attribute("direction", "forward")
    read = _read(call, count, direction)
    sides: list[tuple[Every, list[Tensor]]] = []
    for number, of_it in enumerate(read):
        weights = _weights(call, number, kind)
        cell = kind(call, weights)
        state = [_initial(call, 5 + i, number, batch_first) for i in range(kind.states)]
        back = direction == "reverse" or number == 1
        single = lengths is None and x.shape[1] == 1
        runs_all = (0 if back else count - 1) in of_it
        if single and (count > LONGEST or (runs_all and loop.pays(count, weights.recurrent))):
            sides.append(_looped(call, x, cell, state, back=back, read=of_it))
            continue
        call.need(count <= LONGEST, f"{count} steps of several sequences (up to {LONGEST} are unrolled)")
        if lengths is None:
            sides.append(_direction(call, x, cell, state, back=back))
            continue
        # Backwards, each sequence begins at its own end.
        own = _reversed(call, x, lengths) if back else x
        every, last = _direction(call, own, cell, state, back=False, lengths=lengths)
        sides.append((_turned(call, every, lengths) if back else every, last))
    return _join(call, sides, kind.states, batch_first)


def _read(call: Call, count: int, direction: str) -> list[set[int]]:
    """The steps of each direction that are read, as a part of Y or as the last state."""
    value, *states = call.node.outputs
    lasts = {"forward": [count - 1], "reverse": [0]}.get(direction, [count - 1, 0])
    if call.attribute("layout", 0):
        return [set(range(count)) for _ in lasts]
    needed = any(v.uses() or v.is_graph_output() for v in states)
    found = reads.steps(value, count, len(lasts))
    return [{*of_it, last} if needed else of_it for of_it, last in zip(found, lasts, strict=True)]


def _looped(
    call: Call, x: Tensor, cell: Cell, state: list[State], *, back: bool, read: set[int]
) -> tuple[Every, list[Tensor]]:
    """A loop; where the step that it ends with is all that is read, another one would make the others."""
    whole = loop.run(call, x, cell, state, back=back, every=True)
    assert whole.every is not None
    final = 0 if back else x.shape[0] - 1
    if read != {final}:
        return whole.every, whole.last
    last = loop.run(call, x, cell, state, back=back, every=False).last
    every = _one_by_one(call, whole.every)
    every[final] = last[0]
    return every, last


def _one_by_one(call: Call, every: Every) -> list[Tensor]:
    if isinstance(every, list):
        return every
    count, hidden = every.shape
    return list(call.emit_many("SPLIT", [lir.integers([0]), every], [(1, hidden)] * count, numSplits=count))


def _lengths(call: Call, steps: int) -> Tensor | None:
    """How many steps each sequence has, unless all have all."""
    known = call.known(4)
    if not call.has(4) or (known is not None and bool((known == steps).all())):
        return None
    return call.input(4)


def _reversed(call: Call, x: Tensor, lengths: Tensor) -> Tensor:
    """[steps, batch, size] with the steps that count in reverse, the others where they are."""
    return call.emit("REVERSE_SEQUENCE", [x, lengths], x.shape, seqDim=0, batchDim=1)


def _turned(call: Call, every: list[Tensor], lengths: Tensor) -> list[Tensor]:
    """The steps of a layer that ran backwards, in the order of time."""
    batch, hidden = every[0].shape
    whole = _reversed(call, _stack(call, every, (len(every), batch, hidden)), lengths)
    return list(call.emit_many("UNPACK", [whole], [(batch, hidden)] * len(every), num=len(every), axis=0))


def _weights(call: Call, number: int, kind: type[Cell]) -> Weights:
    weights, recurrent = call.constant(1, "weights")[number], call.constant(2, "recurrent weights")[number]
    hidden = recurrent.shape[-1]
    zeros = np.zeros(2 * kind.gates * hidden, np.float32)
    bias = call.constant(3, "bias")[number] if call.has(3) else zeros
    peephole = call.constant(7, "peepholes")[number] if kind is Lstm and call.has(7) else None
    count = len(kind.functions)
    wanted = call.attribute("activations") or list(kind.functions) * (number + 1)
    own = tuple(functions(call, wanted)[number * count : (number + 1) * count])
    return Weights(weights, recurrent, bias.reshape(2, -1), peephole, hidden, own, clip_of(call))


def _initial(call: Call, index: int, number: int, batch_first: bool) -> State:
    known = call.known(index)
    if not call.has(index) or (known is not None and not known.any()):
        return None
    given = call.input(index)
    if batch_first:
        given = call.transpose(given, (1, 0, 2))
    if given.shape[0] > 1:
        begin, size = lir.integers((number, 0, 0)), (1, *given.shape[1:])
        given = call.emit("SLICE", [given, begin, lir.integers(size)], size)
    return call.reshape(given, given.shape[1:])


def _direction(
    call: Call, x: Tensor, cell: Cell, state: list[State], *, back: bool, lengths: Tensor | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """The hidden state after each step in the order of time (zeros after the end), and the last states."""
    steps, batch, size = x.shape
    rows = call.reshape(x, (steps * batch, size))
    parts = []
    for weights, bias, matrix in cell.project():
        made = fully_connected(call, rows, lir.constant(weights), lir.constant(bias))
        parts.append(_rows(call, made, steps, vectors=batch == 1 and not matrix))
    found: list[State] = []
    for t in reversed(range(steps)) if back else range(steps):
        new = cell.step([part[t] for part in parts], state)
        if lengths is None:
            state, shown = new, new[0]
        else:
            runs = call.binary(
                "GREATER", call.reshape(lengths, (batch, 1)), call.scalar(t, lengths.dtype), BOOL
            )
            state = [_held(call, runs, *pair) for pair in zip(new, state, strict=True)]
            shown = _held(call, runs, new[0], None)
        found.append(shown)
    every = [t for t in (found[::-1] if back else found) if t is not None]
    return every, [t for t in state if t is not None]


def _held(call: Call, runs: Tensor, new: State, old: State) -> Tensor:
    """``new`` in the sequences that run, ``old`` in those that ended."""
    assert new is not None
    other = lir.constant(np.zeros(new.shape, np.float32)) if old is None else old
    return call.emit("SELECT_V2", [runs, new, other], new.shape, new.dtype)


def _rows(call: Call, tensor: Tensor, steps: int, *, vectors: bool) -> Sequence[Tensor]:
    """What every step takes: [columns] if it is to be a bias, else [batch, columns]."""
    rows, columns = tensor.shape
    if vectors:
        return call.emit_many("UNPACK", [tensor], [(columns,)] * steps, num=steps, axis=0)
    if steps == 1:
        return [tensor]
    shapes = [(rows // steps, columns)] * steps
    return call.emit_many("SPLIT", [lir.integers([0]), tensor], shapes, numSplits=steps)


def _join(
    call: Call, sides: list[tuple[Every, list[Tensor]]], states: int, batch_first: bool
) -> list[Tensor | None]:
    """Y [steps, directions, batch, hidden], then the last states [directions, batch, hidden]."""
    outputs: list[Tensor | None] = [None] * (1 + states)
    wanted = [v.uses() or v.is_graph_output() for v in call.node.outputs]
    batch, hidden = sides[0][1][0].shape
    if wanted and wanted[0]:
        outputs[0] = _whole(call, [every for every, _ in sides], batch, hidden)
    for i in range(states):
        outputs[1 + i] = _stack(call, [side[1][i] for side in sides], (len(sides), batch, hidden))
    if not batch_first:
        return outputs
    order = [(2, 0, 1, 3)] + [(1, 0, 2)] * states
    return [None if t is None else call.transpose(t, p) for t, p in zip(outputs, order, strict=True)]


def _whole(call: Call, sides: list[Every], batch: int, hidden: int) -> Tensor:
    """Y: [steps, directions, batch, hidden]."""
    tensors = [every for every in sides if isinstance(every, Tensor)]
    if len(tensors) < len(sides):
        lists = [_one_by_one(call, every) for every in sides]
        rows = [t for step in zip(*lists, strict=True) for t in step]
        return _stack(call, rows, (len(lists[0]), len(sides), batch, hidden))
    wide = loop.concatenated(call, tensors, 1)
    return call.reshape(wide, (wide.shape[0], len(sides), 1, hidden))


def _stack(call: Call, tensors: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    if len(tensors) == 1:
        return call.reshape(tensors[0], shape)
    rows = (len(tensors) * tensors[0].shape[0], tensors[0].shape[1])
    flat = call.emit("CONCATENATION", tensors, rows, axis=0, fusedActivationFunction=0)
    return call.reshape(flat, shape)


LOWERINGS = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
