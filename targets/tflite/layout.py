"""In which order of dimensions every tensor is held, chosen for the whole graph at once.

Lowerings surround the kernels that need channels last with TRANSPOSEs. Here these become mere views, and
every operator that works in any order (`permute`) chooses between two: the one it has, and the one in
which a neighbour already holds the data. A TRANSPOSE is left where two neighbours disagree, and costs its
bytes; the cheapest choice is a minimum cut of the graph between the two orders.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from edgecut.targets.tflite import lir, mincut, permute
from edgecut.targets.tflite.lir import Graph, Op, Perm, Tensor, compose, inverse


class View(NamedTuple):
    """A tensor seen in another order: ``transpose(tensor, perm)``."""

    tensor: Tensor
    perm: Perm


class Edge(NamedTuple):
    """A read: ``op`` (None: the graph's output) reads ``view``."""

    view: View
    op: Op | None


@dataclass
class Labels:
    """The orders that an operator may work in: of its inputs, and of its results."""

    inputs: list[Perm]
    outputs: list[Perm]
    chosen: int = 0


def run(graph: Graph) -> Graph:
    """Choose the orders, and make the graph that works in them; `Graph.perms` says how values are held."""
    ops = lir.order(graph.values.values())
    views = _views(ops)
    edges = _edges(graph, ops, views)
    labels = _candidates(ops, edges)
    _choose(edges, labels)
    return _Builder(views, labels).build(graph, ops)


def identity(rank: int) -> Perm:
    """The order that changes nothing."""
    return tuple(range(rank))


def _views(ops: Iterable[Op]) -> dict[Tensor, View]:
    found: dict[Tensor, View] = {}
    for op in ops:
        if op.kind != "TRANSPOSE":
            continue
        source = op.inputs[0]
        assert source is not None
        base = found.get(source, View(source, identity(source.rank)))
        found[op.output] = View(base.tensor, compose(base.perm, tuple(map(int, op.constant(1)))))
    return found


def _view(tensor: Tensor, views: dict[Tensor, View]) -> View:
    return views.get(tensor, View(tensor, identity(tensor.rank)))


def _edges(graph: Graph, ops: Iterable[Op], views: dict[Tensor, View]) -> list[Edge]:
    """Every read of a tensor that is no constant."""
    found = []
    for op in ops:
        if op.kind == "TRANSPOSE":
            continue
        found += [Edge(_view(t, views), op) for t in _data(op) if not t.is_constant]
    kept = [graph.values[name] for name in graph.outputs if name in graph.contract]
    found += [Edge(_view(t, views), None) for t in kept]
    return found


def _data(op: Op) -> list[Tensor]:
    """The inputs whose order matters."""
    how = permute.mover(op)
    indices = range(len(op.inputs)) if how is None else how.data(op)
    return [t for i in indices if (t := op.inputs[i]) is not None]


def _candidates(ops: list[Op], edges: list[Edge]) -> dict[Op, Labels]:
    """Give the movable operators two orders, carried from where an order is fixed along the edges."""
    labels: dict[Op, Labels] = {}
    around: dict[Op, list[Edge]] = defaultdict(list)
    for edge in edges:
        for op in (edge.view.tensor.op, edge.op):
            if op is not None:
                around[op].append(edge)
    number = {op: i for i, op in enumerate(ops)}
    largest_first = sorted(edges, key=lambda e: -e.view.tensor.nbytes)
    # What no fixed order reaches, between transposes of the model's own, comes second.
    for seed in (s for find in (_seed, _free_seed) for e in largest_first if (s := find(e)) is not None):
        start, q = seed
        if start in labels:
            continue
        plain = identity(permute.frame(start))
        if _assign(labels, start, plain, q):
            _spread(labels, start, around, number)
    return labels


def _seed(edge: Edge) -> tuple[Op, Perm] | None:
    """An operator beside a fixed order, and the order in which it would agree with it."""
    producer, consumer, perm = edge.view.tensor.op, edge.op, edge.view.perm
    if perm == identity(len(perm)):
        return None
    if not _movable(producer) and _movable(consumer):
        assert consumer is not None
        return consumer, inverse(perm)
    if _movable(producer) and not _movable(consumer):
        assert producer is not None
        q = _backwards(producer, perm)
        return None if q is None else (producer, q)
    return None


def _free_seed(edge: Edge) -> tuple[Op, Perm] | None:
    """A reader of a turned tensor, and the order in which it would read it as it is held."""
    perm = edge.view.perm
    if perm == identity(len(perm)) or edge.op is None or not _movable(edge.op):
        return None
    return (edge.op, inverse(perm)) if len(perm) == permute.frame(edge.op) else None


def _movable(op: Op | None) -> bool:
    return op is not None and permute.mover(op) is not None


def _backwards(op: Op, out: Perm) -> Perm | None:
    """The order in which an operator would give its result in order ``out``."""
    if op.kind == "RESHAPE":
        x = op.inputs[0]
        assert x is not None
        q = permute.carry(op.output.shape, x.shape, out)
    elif len(out) != permute.frame(op):
        q = None
    else:
        q = out
    return q if q is not None and _result(op, q) == out else None


def _result(op: Op, q: Perm) -> Perm | None:
    how = permute.mover(op)
    return None if how is None or len(q) != permute.frame(op) else how.result(op, q)


def _assign(labels: dict[Op, Labels], op: Op, *orders: Perm | None) -> bool:
    possible = [(q, out) for q in orders if q is not None and (out := _result(op, q)) is not None]
    if not possible:
        return False
    labels[op] = Labels([q for q, _ in possible], [out for _, out in possible])
    return len(possible) == len(orders)


def _spread(labels: dict[Op, Labels], start: Op, around: dict[Op, list[Edge]], number: dict[Op, int]) -> None:
    """Carry the two orders of an operator to its neighbours, breadth first, so that equal labels agree."""
    queue = deque([start])
    while queue:
        op = queue.popleft()
        for edge in sorted(around[op], key=lambda e: -1 if e.op is None else number[e.op]):
            producer, consumer, perm = edge.view.tensor.op, edge.op, edge.view.perm
            if producer is op and _movable(consumer) and consumer not in labels:
                assert consumer is not None
                orders = [compose(inverse(perm), out) for out in labels[op].outputs]
                if _assign(labels, consumer, *orders):
                    queue.append(consumer)
            if consumer is op and _movable(producer) and producer not in labels:
                assert producer is not None
                wanted = [compose(perm, q) for q in labels[op].inputs]
                if _assign(labels, producer, *(_backwards(producer, w) for w in wanted)):
                    queue.append(producer)


def _choose(edges: list[Edge], labels: dict[Op, Labels]) -> None:
    """Set every operator's order to what makes the fewest bytes move."""
    problem = mincut.Problem()
    for op, label in labels.items():
        if len(label.inputs) == 2:
            problem.variable(op)
    if not problem.variables:
        return
    readers: dict[Tensor, list[Edge]] = defaultdict(list)
    for edge in edges:
        readers[edge.view.tensor].append(edge)
    for tensor, reads in readers.items():
        _charge(problem, tensor, reads, labels)
    sides = problem.solve()
    for op, label in labels.items():
        label.chosen = sides.get(op, 0)


def _charge(problem: mincut.Problem, tensor: Tensor, reads: list[Edge], labels: dict[Op, Labels]) -> None:
    """One TRANSPOSE serves all readers that want the same order; charge it where it differs from the held."""
    held = labels[tensor.op].outputs if tensor.op in labels else [identity(tensor.rank)]
    agreeing: dict[object, list[object]] = defaultdict(list)
    for edge in reads:
        wanted = [edge.view.perm]
        if edge.op in labels:
            wanted = [compose(edge.view.perm, q) for q in labels[edge.op].inputs]
        ends = _ends(tensor, held, wanted, tensor.op, edge.op)
        if ends is not None:
            agreeing[ends[0]].append(ends[1])
    for producer, consumers in agreeing.items():
        problem.differ(producer, consumers, 16 + tensor.nbytes // 64)


def _ends(
    tensor: Tensor, held: list[Perm], wanted: list[Perm], producer: Op | None, consumer: Op | None
) -> tuple[object, object] | None:
    """Both ends of a read as variables or fixed sides (0, 1) that must be equal for it to be free.

    None where the choice makes no difference, or where no choice of equal labels is free.
    """
    free = [[same_memory(tensor.shape, h, w) for w in wanted] for h in held]
    if all(map(all, free)):
        return None
    if len(held) == 2 and len(wanted) == 2:
        return (producer, consumer) if free[0][0] and free[1][1] else None
    if len(held) == 2:
        side = 0 if free[0][0] else 1
        return (producer, side) if free[0][0] != free[1][0] else None
    if len(wanted) == 2:
        side = 0 if free[0][0] else 1
        return (side, consumer) if free[0][0] != free[0][1] else None
    return None


def same_memory(shape: tuple[int, ...], one: Perm, other: Perm) -> bool:
    """Whether two orders of a tensor are the same bytes: they differ in dimensions of one only."""
    return [d for d in one if shape[d] != 1] == [d for d in other if shape[d] != 1]


class _Builder:
    """Makes the graph in the chosen orders."""

    def __init__(self, views: dict[Tensor, View], labels: dict[Op, Labels]) -> None:
        self.views = views
        self.labels = labels
        self.held: dict[Tensor, View] = {}
        """For each old tensor the new one, and its order: ``new = transpose(old, perm)``."""
        self.turned: dict[tuple[Tensor, Perm], Tensor] = {}

    def build(self, graph: Graph, ops: list[Op]) -> Graph:
        made = Graph(outputs=list(graph.outputs), contract=set(graph.contract), inputs=dict(graph.inputs))
        for op in ops:
            if op.kind != "TRANSPOSE":
                self.place(op)
        for name, tensor in graph.values.items():
            view = _view(tensor, self.views)
            new, held = self.held.get(view.tensor, View(view.tensor, identity(view.tensor.rank)))
            perm = compose(inverse(view.perm), held)
            if name in graph.contract:
                sources = view.tensor.op.sources if view.tensor.op else frozenset()
                new, perm = (
                    self.fetch(view.tensor, view.perm, tensor.op.sources if tensor.op else sources),
                    (),
                )
            made.values[name] = new
            if perm and perm != identity(len(perm)):
                made.perms[name] = perm
        return made

    def place(self, op: Op) -> None:
        """Make the counterpart of an operator in its chosen order."""
        label = self.labels.get(op)
        how = permute.mover(op)
        q = label.inputs[label.chosen] if label else None
        data = range(len(op.inputs)) if how is None else how.data(op)
        inputs = [
            self.read(t, q if i in data else None, op.sources) if t is not None else None
            for i, t in enumerate(op.inputs)
        ]
        new = lir.like(op, inputs) if q is None else permute.permuted(op, q, inputs)
        for old, tensor in zip(op.outputs, new.outputs, strict=True):
            out = label.outputs[label.chosen] if label else identity(old.rank)
            self.held[old] = View(tensor, out)

    def read(self, tensor: Tensor, q: Perm | None, sources: frozenset[str]) -> Tensor:
        view = _view(tensor, self.views)
        wanted = view.perm if q is None else compose(view.perm, q)
        return self.fetch(view.tensor, wanted, sources)

    def fetch(self, tensor: Tensor, wanted: Perm, sources: frozenset[str]) -> Tensor:
        """``transpose(tensor, wanted)``, made from how it is held; made once for all readers."""
        if tensor.is_constant:
            return lir.transpose(tensor, wanted, sources)
        new, held = self.held.get(tensor, View(tensor, identity(tensor.rank)))
        if held == wanted:
            return new
        key = (tensor, wanted)
        if key not in self.turned and same_memory(tensor.shape, held, wanted):
            self.turned[key] = lir.reshape(new, [tensor.shape[d] for d in wanted], sources)
        if key not in self.turned:
            self.turned[key] = lir.transpose(new, compose(inverse(held), wanted), sources)
        return self.turned[key]
