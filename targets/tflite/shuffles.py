"""Channel shuffles that cost nothing: the weights on both sides are permuted instead.

In which order a convolution gives its channels is free, if those who read them know it. So where channels
are only moved between convolutions (shuffled, split, joined, split again), each convolution gives its
channels sorted by who reads them, and each reader takes its own with one SLICE from every tensor, however
many shuffles lie between. That is exact: the numbers are the same, added in another order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgecut.targets.tflite import lir, permute, routes
from edgecut.targets.tflite.lir import Array, Graph, Op, Quant, Tensor
from edgecut.targets.tflite.routes import Channel, Route, Router, Routes

_JOINED = 5
"""Tensors that XNNPACK joins at once."""
_POOLS = ("MAX_POOL_2D", "AVERAGE_POOL_2D")
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_RUNS = 4
"""Parts at most that a tensor is read in whose order is not free."""


def run(graph: Graph) -> None:
    """Take out every shuffle between convolutions."""
    while _run_once(graph):
        pass


def _run_once(graph: Graph) -> bool:
    """Take out those that hang together with one of them; False where none is left that can go."""
    ops = graph.order()
    if not any(op.kind == "TRANSPOSE" for op in ops):
        return False
    found = routes.find(ops, graph.uses(ops))
    shuffled = [c for c in found.components() if any(r.is_shuffle for r in c)]
    if not shuffled:
        return False
    fixed = {graph.values[name] for name in graph.outputs}
    readers: dict[Tensor, list[Op]] = defaultdict(list)
    for op in ops:
        for tensor in op.inputs:
            if tensor is not None:
                readers[tensor].append(op)
    plan = next((p for c in shuffled if (p := _planned(c, found, readers, fixed)) is not None), None)
    if plan is not None:
        _Rewiring(graph, found, plan).run(ops)
    return plan is not None


@dataclass
class _Plan:
    """What is known of routers that hang together."""

    routers: list[Router]
    sinks: dict[Op, Tensor]
    """Who reads a routed tensor, or a source, and which."""
    followers: dict[Op, Tensor]
    """Who reads what a sink gives in the order in which it reads it (or another follower), and which."""
    orders: dict[Tensor, list[int]]
    """For each source, its channels in their new order ..."""
    parts: dict[Tensor, list[int]]
    """... and where in it parts end that are read by the same."""


def _planned(
    routers: list[Router], found: Routes, readers: dict[Tensor, list[Op]], fixed: set[Tensor]
) -> _Plan | None:
    """How these routers go away; None where they cannot."""
    own = {op for r in routers for op in r.ops}
    tensors = list(dict.fromkeys(t for r in routers for t in (*r.inputs, *r.outputs)))
    sources = list(dict.fromkeys(channel[0] for t in tensors for channel in found.of(t)))
    sinks: dict[Op, Tensor] = {}
    for tensor in dict.fromkeys((*tensors, *sources)):
        for op in readers[tensor]:
            if op in own:
                continue
            if op in sinks or not _absorbs(op, tensor):
                return None
            sinks[op] = tensor
    if fixed & {*tensors, *sources} or any(len(set(found.of(t))) < t.shape[-1] for t in sinks.values()):
        return None
    followers: dict[Op, Tensor] = {}
    carriers = [op for op in sinks if _carries(op)]
    for op in carriers:
        if op.output in fixed:
            return None
        for reader in readers[op.output]:
            if reader in followers or not _absorbs(reader, op.output):
                return None
            followers[reader] = op.output
            carriers += [reader] if _carries(reader) else []
    orders, parts = {}, {}
    signatures = _signatures(sinks, found)
    for source in sources:
        ordered = _sorted(source, [signatures[source, i] for i in range(source.shape[-1])])
        if ordered is None:
            return None
        orders[source], parts[source] = ordered
    return _Plan(routers, sinks, followers, orders, parts)


def _absorbs(op: Op, tensor: Tensor) -> bool:
    """Whether an operator can take the channels of its input in any order."""
    if op.inputs[0] is not tensor or not _constant(op):
        return False
    if op.kind == "PAD":
        return not op.constant(1)[-1].any()
    if op.kind in _CONVERSIONS:
        return all(t.quant is None or t.quant.per_tensor for t in (tensor, op.output))
    if op.kind in _POOLS or (op.kind in permute.UNARY and op.output.quant is None):
        return True
    weights = op.inputs[1] if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D") else None
    if weights is None:
        return False
    return weights.shape[3] == tensor.shape[-1] and op.options.get("depthMultiplier", 1) == 1


def _carries(op: Op) -> bool:
    """Whether an operator that absorbs gives its channels in the order in which it reads them."""
    return op.kind != "CONV_2D"


def _constant(op: Op) -> bool:
    return all(t is None or t.is_constant for t in op.inputs[1:])


def _signatures(sinks: dict[Op, Tensor], found: Routes) -> dict[Channel, tuple[int, ...]]:
    """By whom each channel is read."""
    signatures: dict[Channel, tuple[int, ...]] = defaultdict(tuple)
    for number, tensor in enumerate(sinks.values()):
        for channel in found.of(tensor):
            signatures[channel] += (number,)
    return signatures


def _sorted(source: Tensor, signatures: Sequence[tuple[int, ...]]) -> tuple[list[int], list[int]] | None:
    """The channels of a source in a new order, and the ends of its parts."""
    channels = list(range(len(signatures)))
    free = source.op is not None and source.op.kind == "CONV_2D" and _constant(source.op)
    if free:
        channels.sort(key=lambda i: (signatures[i], i))
    ends = [
        i + 1
        for i, channel in enumerate(channels)
        if i + 1 == len(channels) or signatures[channel] != signatures[channels[i + 1]]
    ]
    return (channels, ends) if free or len(ends) <= _RUNS else None


@dataclass
class _Rewiring:
    """Makes the operators without routers."""

    graph: Graph
    routes: Routes
    plan: _Plan
    made: dict[Tensor, Tensor] = field(default_factory=dict)
    """New tensors by old ones, channels in the new order."""
    order: dict[Tensor, Route] = field(default_factory=dict)
    """The channels of new tensors."""
    forward: dict[Tensor, Tensor] = field(default_factory=dict)
    joined: dict[tuple[tuple[Tensor, int, int], ...], Tensor] = field(default_factory=dict)
    claimed: set[Op] = field(default_factory=set)

    def run(self, ops: Sequence[Op]) -> None:
        """Make what replaces sources and sinks, and let all others read the old order again."""
        before = lir.order(self.graph.values.values())
        for source, order in self.plan.orders.items():
            self.order[source] = [(source, i) for i in order]
            if source.op not in ops:
                self.made[source] = source
        for op in ops:
            tensor = op.output
            if op in self.plan.sinks or op in self.plan.followers or tensor in self.plan.orders:
                self.replace(op)
        for router in self.plan.routers:
            for tensor in router.outputs:
                self.forward[tensor] = self.restored(tensor)
        for op in before:
            op.inputs = [None if t is None else lir.resolve(t, self.forward) for t in op.inputs]
        self.graph.redirect(self.forward)

    def replace(self, op: Op) -> None:
        """An operator that reads, or gives, channels in a new order."""
        weights, bias = (*op.inputs, None, None)[1:3]
        inputs: list[Tensor | None] = [None if t is None else lir.resolve(t, self.forward) for t in op.inputs]
        stored: Route | None = None
        old: Route = []
        if op in self.plan.sinks:
            old = self.routes.of(self.plan.sinks[op])
            inputs[0], stored = self.read(op)
        elif op in self.plan.followers:
            x = self.plan.followers[op]
            old, inputs[0], stored = self.routes.of(x), self.made[x], self.order[x]
        columns = None
        if stored is not None:
            place = {channel: i for i, channel in enumerate(old)}
            columns = [place[channel] for channel in stored]
        rows = self.plan.orders.get(op.output)
        if columns is not None and _carries(op):
            rows = columns
            if op.kind == "DEPTHWISE_CONV_2D":
                inputs[1:3] = [_taken(weights, columns, 3), _taken(bias, columns, 0)]
        elif op.kind == "CONV_2D":
            changed = _taken(weights, columns, 3) if columns is not None else weights
            inputs[1:3] = [changed, bias]
            if rows is not None:
                inputs[1:3] = [_taken(changed, rows, 0), _taken(bias, rows, 0)]
        else:
            rows = None
        new = lir.like(op, inputs).output if columns is not None or rows is not None else op.output
        self.made[op.output] = new
        self.order[op.output] = [(op.output, i) for i in rows or range(op.output.shape[-1])]
        if new is not op.output:
            self.forward[op.output] = self.restored(op.output)

    def read(self, op: Op) -> tuple[Tensor, Route]:
        """The channels that a sink reads, in whatever order."""
        tensor = self.plan.sinks[op]
        wanted = set(self.routes.of(tensor))
        runs = self.runs(wanted)
        return self.join(runs, self.sources(tensor)), [c for t, a, b in runs for c in self.order[t][a:b]]

    def runs(self, wanted: set[Channel]) -> tuple[tuple[Tensor, int, int], ...]:
        """The parts of sources that have any of these channels, those that stand together as one."""
        found: list[tuple[Tensor, int, int]] = []
        for source, ends in self.plan.parts.items():
            start = 0
            for end in ends:
                if not wanted.isdisjoint(self.order[source][start:end]):
                    together = found and found[-1][0] is source and found[-1][2] == start
                    found.append((source, found.pop()[1] if together else start, end))
                start = end
        return tuple(found)

    def join(self, runs: tuple[tuple[Tensor, int, int], ...], sources: frozenset[str]) -> Tensor:
        """Slices of new tensors, one behind the other."""
        if runs not in self.joined:
            if len(runs) == 1:
                self.joined[runs] = self.slice(*runs[0], sources)
            else:
                tensors = [self.join((r,), sources) for r in runs]
                while len(tensors) > _JOINED:  # the oldest are the smallest
                    tensors = [_concatenated(tensors[:_JOINED], sources), *tensors[_JOINED:]]
                self.joined[runs] = _concatenated(tensors, sources)
        return self.joined[runs]

    def slice(self, source: Tensor, start: int, end: int, sources: frozenset[str]) -> Tensor:
        tensor = self.made[source]
        if end - start == tensor.shape[-1]:
            return tensor
        shape = (*tensor.shape[:-1], end - start)
        begin = lir.integers((*[0] * (tensor.rank - 1), start))
        (out,) = lir.emit("SLICE", [tensor, begin, lir.integers(shape)], [shape], [tensor.dtype], sources)
        out.quant = tensor.quant
        return out

    def sources(self, tensor: Tensor) -> frozenset[str]:
        """Nodes of the routers above a tensor that no earlier reader has claimed."""
        makers = {t: r for r in self.plan.routers for t in r.outputs}
        found: set[str] = set()
        stack = [tensor]
        while stack:
            router = makers.get(stack.pop())
            if router is None or router.ops[-1] in self.claimed:
                continue
            self.claimed.add(router.ops[-1])
            found.update(s for op in router.ops for s in op.sources)
            stack += router.inputs
        maker = makers.get(tensor)
        return frozenset(found) or (maker.ops[-1].sources if maker else frozenset())

    def restored(self, tensor: Tensor) -> Tensor:
        """A tensor in its own order, for those outside of the plan: values at which the program is cut."""
        wanted = self.routes.of(tensor)
        if tensor in self.made:
            base, stored = self.made[tensor], self.order[tensor]
        else:
            runs = self.runs(set(wanted))
            base = self.join(runs, tensor.op.sources if tensor.op else frozenset())
            stored = [c for t, a, b in runs for c in self.order[t][a:b]]
        if stored == wanted:
            return base
        place = {channel: i for i, channel in enumerate(stored)}
        indices = lir.integers(place[c] for c in wanted)
        sources = tensor.op.sources if tensor.op else frozenset()
        options = {"axis": tensor.rank - 1, "batchDims": 0}
        (out,) = lir.emit("GATHER", [base, indices], [tensor.shape], [tensor.dtype], sources, options)
        out.quant = tensor.quant
        return out


def _taken(tensor: Tensor | None, indices: Sequence[int], axis: int) -> Tensor | None:
    """A constant with the entries of one axis in another order."""
    if tensor is None:
        return None
    assert tensor.data is not None
    quant = tensor.quant
    if quant is not None and not quant.per_tensor and quant.axis == axis:
        quant = Quant(quant.scale[indices], quant.zero[indices], axis)
    data: Array = np.take(tensor.data, indices, axis)
    return lir.constant(data, quant)


def _concatenated(tensors: Sequence[Tensor], sources: frozenset[str]) -> Tensor:
    first = tensors[0]
    shape = (*first.shape[:-1], sum(t.shape[-1] for t in tensors))
    options = {"axis": first.rank - 1, "fusedActivationFunction": 0}
    (out,) = lir.emit("CONCATENATION", tensors, [shape], [first.dtype], sources, options)
    out.quant = first.quant
    return out
