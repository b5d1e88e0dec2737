"""Follows single channels through operators that only move them: SPLIT, SLICE, CONCATENATION, shuffles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgecut.targets.tflite.lir import Op, Tensor

Channel = tuple[Tensor, int]
"""A channel of a tensor that no router made."""
Route = list[Channel]
"""Where each channel of a tensor comes from."""


@dataclass
class Router:
    """One operator, or a shuffle of three, that gives its outputs the channels of its inputs."""

    ops: list[Op]
    inputs: list[Tensor]
    outputs: list[Tensor]

    @property
    def is_shuffle(self) -> bool:
        """Whether it is RESHAPE, TRANSPOSE, RESHAPE."""
        return len(self.ops) > 1


@dataclass
class Routes:
    """All routers of a graph in topological order, and where the channels of their outputs come from."""

    routers: list[Router] = field(default_factory=list)
    found: dict[Tensor, Route] = field(default_factory=dict)

    def of(self, tensor: Tensor) -> Route:
        """Where the channels of any tensor come from: from itself, where no router made it."""
        return self.found.get(tensor) or [(tensor, i) for i in range(tensor.shape[-1])]

    def components(self) -> list[list[Router]]:
        """Routers that hang together, by the tensors that they read and give."""
        leader: dict[Tensor, Tensor] = {}

        def lead(tensor: Tensor) -> Tensor:
            while leader.setdefault(tensor, tensor) is not tensor:
                tensor = leader[tensor]
            return tensor

        for router in self.routers:
            first, *rest = (lead(t) for t in (*router.inputs, *router.outputs))
            leader.update(dict.fromkeys(rest, first))
        groups: dict[Tensor, list[Router]] = {}
        for router in self.routers:
            groups.setdefault(lead(router.inputs[0]), []).append(router)
        return list(groups.values())


def find(ops: Iterable[Op], uses: Counter[Tensor]) -> Routes:
    """Find the routers among operators that stand in topological order."""
    routes = Routes()
    for op in ops:
        router = _shuffle(op, uses) or _router(op)
        if router is None or any(t.is_constant or not t.rank for t in router.inputs):
            continue
        if not all(_same_numbers(t, router.outputs[0]) for t in (*router.inputs, *router.outputs)):
            continue
        channels = [c for t in router.inputs for c in routes.of(t)]
        routes.found.update(zip(router.outputs, _moved(op, router, channels), strict=True))
        routes.routers.append(router)
    return routes


def _same_numbers(tensor: Tensor, other: Tensor) -> bool:
    """Whether equal elements of two tensors mean the same."""
    if tensor.dtype != other.dtype or (tensor.quant is None) != (other.quant is None):
        return False
    return tensor.quant is None or (tensor.quant.per_tensor and tensor.quant.same(other.quant))


def _shuffle(op: Op, uses: Counter[Tensor]) -> Router | None:
    """[..., C] as [..., g, C/g], the last two exchanged, and joined again."""
    turn = op.inputs[0].op if op.kind == "RESHAPE" and op.inputs[0] is not None else None
    if turn is None or turn.kind != "TRANSPOSE" or turn.inputs[0] is None or uses[turn.output] != 1:
        return None
    first = turn.inputs[0].op
    x = first.inputs[0] if first is not None and first.kind == "RESHAPE" else None
    if first is None or x is None or uses[first.output] != 1 or x.shape != op.output.shape:
        return None
    apart, perm = first.output, turn.constant(1).tolist()
    ends = (*range(apart.rank - 2), apart.rank - 1, apart.rank - 2)
    if apart.shape[:-2] != x.shape[:-1] or tuple(perm) != ends:
        return None
    return Router([first, turn, op], [x], [op.output])


def _router(op: Op) -> Router | None:
    if op.kind == "CONCATENATION":
        inputs = [t for t in op.inputs if t is not None]
        plain = not op.options.get("fusedActivationFunction")
        return (
            Router([op], inputs, op.outputs) if plain and op.options["axis"] == op.output.rank - 1 else None
        )
    place = {"SPLIT": 1, "SPLIT_V": 0, "SLICE": 0, "GATHER": 0}.get(op.kind)
    x = op.inputs[place] if place is not None else None
    if x is None or any(t is None or not t.is_constant for t in op.inputs if t is not x):
        return None
    last = x.rank - 1
    if op.kind == "SLICE":
        fits = op.output.shape[:-1] == x.shape[:-1]
    elif op.kind == "GATHER":
        fits = op.options["axis"] == last and not op.options.get("batchDims") and op.constant(1).ndim == 1
    else:
        axis = int(op.constant(0 if op.kind == "SPLIT" else 2).ravel()[0])
        fits = axis % x.rank == last
    return Router([op], [x], op.outputs) if fits else None


def _moved(op: Op, router: Router, channels: Route) -> list[Route]:
    """The channels of each output, of those of all inputs together."""
    if router.is_shuffle:
        groups = router.ops[0].output.shape[-2]
        order = np.arange(len(channels)).reshape(groups, -1).T.ravel()
        return [[channels[i] for i in order]]
    if op.kind == "GATHER":
        return [[channels[i] for i in op.constant(1).tolist()]]
    start = int(op.constant(1)[-1]) if op.kind == "SLICE" else 0
    return _cut(channels, start, [t.shape[-1] for t in op.outputs])


def _cut(channels: Route, start: int, sizes: Sequence[int]) -> list[Route]:
    ends = (start + np.cumsum(sizes)).tolist()
    return [channels[end - size : end] for size, end in zip(sizes, ends, strict=True)]
